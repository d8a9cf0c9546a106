"""A paper's figures, compared arm by arm: the commands that run them and make a baseline's pages.

``analysis`` knows runs and numbers; this package knows what a baseline compares, and its files. The
baseline says that once, see :class:`common.replication.definition.Replication`.
"""
