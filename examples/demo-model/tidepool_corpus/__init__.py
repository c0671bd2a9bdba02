"""The generator of the Tidepool demo model's corpus. Standard library only; deterministic for a seed.

From the ground up:

    lexicon/       words, facts and sentences as plain-text tables; no code but their readers
    draw           the one random stream
    phrasing       templates, articles, lists, how people type
    nouns          what a text can be about
    stories        story telling
    story_tasks, descriptions, writing, facts, arithmetic, exercises, talk, unknown
                   tasks: each function returns a key (or several) and the turns of a chat,
                   as (question, answer)
    conversation   tasks, a system message and a manner of speaking become one document
    files          training files, held-out keys
"""
