"""AgentDojo's suites for every guard: utility, and which injections were carried out, by AgentDojo's own checkers.

Debenedetti et al. 2024, arXiv:2406.13352. Another guard takes part by one line, `defences.register_defence`.

What AgentDojo calls `security` is True where the injection's goal was reached, and its own benchmark also sets it where
a run broke (its issue 154). Here it is called "injection carried out", and runs that broke are counted apart.
"""
