"""Words, facts and sentence tables of the corpus, a module for each topic. All of it was written for this project.

Tables are plain text, one entry a line, fields separated by '|'; a comment above a table names its fields.
Sentences use a small template language: {slot} is filled in, [a|b] picks one alternative. The order of
entries matters, because a draw picks by position.
"""
