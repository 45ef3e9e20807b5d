"""From a question to evidence: what is asked, which turns count for it, and what they prove."""
