"""Lets the site show the pictures in results/, which live beside docs/."""

from pathlib import Path

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]


def on_files(files: Files, config) -> Files:
    """Add results/*.png."""
    for path in sorted((ROOT / "results").glob("*.png")):
        files.append(File(f"results/{path.name}", str(ROOT), config["site_dir"], config["use_directory_urls"]))
    return files


def on_page_markdown(markdown: str, **_) -> str:
    """Point at them from within the site."""
    return markdown.replace("../results/", "results/")
