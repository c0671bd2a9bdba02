"""Verses about a subject: {x} is the subject with its article, {X} the same with a capital."""

COUPLETS = [
    c.strip()
    for c in """
{X} is here at break of day, / and softly sends my cares away.
I think of {x} when night is deep, / it sings the tired world to sleep.
Oh, {x}, so quiet and so bright, / you fill the dark with gentle light.
I looked for {x} both near and far, / beneath the moon, beneath a star.
When I am lost and far from home, / with {x} I never feel alone.
The years go by, the seasons turn, / from {x} there is so much to learn.
The morning comes on silver feet, / and {x} makes the day complete.
The birds all know it, so do I: / {x} is a friend beneath the sky.
The world is wide, the road is long, / but {x} still hums a little song.
I close my eyes and there I see / {x}, as lovely as can be.
So let us dance and let us sing, / for {x} is a wondrous thing.
The wind may blow, the rain may fall, / but {x} is the best of all.
I wrote a letter, short and true, / to tell {x}: I think of you.
Some like the gold, some like the sea, / but {x} is what delights me.
A little hope, a little cheer, / I feel them both when {x} is near.
The stars come out, the lamps are low, / and {x} has a gentle glow.
And when the evening turns to grey, / I dream of {x} and drift away.
No king, no crown, no silver ring / is worth as much as this small thing.
The old folk tell it by the fire: / {x} is the heart's desire.
It asks for nothing, gives us more / than all the treasure on the shore.
Be still and listen, you will hear / the song of {x}, soft and clear.
The clock strikes ten, the house is still, / and {x} is dreaming on the hill.
I would not trade it, not for gold, / this joy that never will grow old.
The field is green, the sky is blue, / {x} makes everything feel new.
""".strip().splitlines()
]

HAIKU = [
    tuple(s.strip() for s in h.split("/"))
    for h in """
{X} at dawn / the quiet world is waking / one bird starts to sing
The evening grows still / a soft wind moves the tall grass / I think of {x}
{X} once more / small and bright in the grey light / my heart is at rest
Slow clouds in the sky / nobody is in a rush / only {x} stays
A door left open / the scent of rain on warm stones / and {x} is near
Snow upon the roof / {x} in the silent night / far away, a bell
""".strip().splitlines()
]
