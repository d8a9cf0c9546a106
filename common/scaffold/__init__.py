"""A baseline to begin with: `python -m common.scaffold NAME` copies ``template`` under a name.

The template is a baseline that runs. Ruff and mypy check it as it is; its tests run in a copy.
"""
