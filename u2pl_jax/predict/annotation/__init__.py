"""Masks as annotation tools import them, to be corrected there.

Every module but `labels` writes for one tool. `data_prep.folder --add_to=NAME`
reads what the tools export afterwards.
"""
