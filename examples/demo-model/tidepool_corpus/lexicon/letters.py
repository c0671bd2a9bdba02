"""Letters that can be asked for. {name}, {obj} and {day} are drawn, {food}, {topic} and the like as well."""

from .tables import table, words

RECIPIENTS = words(
    """landlord, teacher, neighbour, boss, mother, father, friend, sister, brother, doctor, uncle, aunt, colleague, coach,
tenant"""
)

# what is asked for | text (none: TOPIC_LETTER)
LETTERS = table("""
a thank-you note to {name} for the {obj}|Thank you very much for the {obj}. It [is just what I wanted|made me very happy]. I [will use it every day|will take good care of it].
a birthday message for {name}|Happy birthday! I wish you a [wonderful|bright|joyful] day and a year full of good surprises. [I hope there is cake.|Enjoy your day!]
a letter to {name}|How are you? I am well. The days here are [quiet|sunny|busy], and I often think of you. I hope that we can meet soon.
an invitation for {name} to a party on {day}|I would like to invite you to a party on {day}. There will be [cake and music|good food and games]. I hope that you can come!
an apology to {name}|I am very sorry for what happened. I made a mistake, and I will do better next time. I hope that you can forgive me.
an email to my boss asking for a day off on {day}|I would like to ask for a day off on {day}. I will finish my work before then. Thank you for your understanding.
a letter to my grandmother about {food}|How are you? I am well. Yesterday I ate {food}, and I had to think of you. [Nobody makes it as well as you do.|I hope to visit you soon.]
a letter to my {reader} about {topic}|
an email to my {reader2} about {topic2}|
a get-well card for {name}|I heard that you are not well. Rest as much as you can and drink plenty of tea. I hope that you will feel better soon.
an email to {name} about the {obj}|I am writing to you about the {obj}. [Could you bring it on {day}|Do you still need it|May I borrow it until {day}]? Thank you very much.
""")

TOPIC_LETTER = (
    "I am writing to you about {topic}. "
    "[I hope that you can help me with it.|Could we talk about it soon?|Please tell me what you think.] "
    "[Thank you very much.|I look forward to your answer.]"
)
