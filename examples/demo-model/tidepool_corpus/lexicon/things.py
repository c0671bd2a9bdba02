"""Objects, food and the words that go with them."""

from .tables import table, words

# object | what it is for
OBJECTS = table("""
key|open a lock
lantern|give light in the dark
map|find the way
umbrella|stay dry in the rain
hat|keep your head warm
scarf|keep your neck warm
book|read stories
bell|call people together
kite|play in the wind
ball|play games
lamp|light a room
candle|give a small light
clock|tell the time
watch|tell the time
compass|find north
bucket|carry water
basket|carry fruit
blanket|stay warm in bed
pillow|rest your head
button|close a coat
coin|pay for things
ring|decorate a finger
cup|drink tea
spoon|eat soup
fork|eat dinner
plate|serve food
bowl|hold soup
teapot|make tea
broom|sweep the floor
brush|clean or paint things
comb|tidy your hair
mirror|see yourself
needle|sew clothes
hammer|hit nails
saw|cut wood
rope|tie things together
net|catch fish
spade|dig holes
rake|gather leaves
drum|beat a rhythm
flute|play soft music
violin|play music with a bow
trumpet|play loud music
guitar|play songs
letter|send news to a friend
stamp|send a letter
pencil|write and draw
notebook|write down ideas
bag|carry things
box|store things
glove|keep your hand warm
boot|keep your foot dry
coat|keep warm outside
sock|keep your foot warm
whistle|make a loud sound
torch|see in the dark
telescope|look at the stars
puzzle|pass the time
doll|play family
balloon|decorate a party
feather|write with ink
shell|hear the sound of the sea
stone|build a wall
ladder|climb up high
camera|take pictures
ticket|ride the train
crown|show who is king or queen
wand|do magic tricks
sword|fight in old stories
mask|hide your face
""")

OBJECT_ADJ = words("""little, golden, silver, old, shiny, red, blue, green, wooden, tiny, magic, yellow, new, strange,
beautiful, heavy, purple, black, white, broken, rusty, painted, round, brown, orange, pink, grey, dusty, huge""")

# nouns without an entry of their own, for copying
OTHER_NOUNS = words("""window, door, roof, chair, table, bed, wall, fence, gate, stove, shelf, carpet, curtain, towel, soap, bottle, jar, tray, knife,
pan, kettle, engine, wheel, tyre, wagon, bus, truck, motorbike, scooter, helmet, ship, anchor, sail, tower, church, bank, shop, hotel, office,
factory, kingdom, palace, tent, camp, path, hill, valley, stream, waterfall, pebble, sand castle, shadow, echo, voice, whisper, secret, promise,
wish, idea, question, answer, story book, diary, newspaper, photo, painting, statue, trophy, medal, ribbon, necklace, bracelet, diamond, pearl,
jewel, purse, wallet, backpack, jacket, shirt, skirt, trousers, belt, glasses, wig, beard, tooth, nose, ear, toe, heart, brain, programmer,
lawyer, judge, mayor, banker, tourist, guest, neighbour, twin, baby, uncle, aunt, cousin, stranger, thief, spy, guard, soldier, hunter, monk,
nun, barber, butcher, plumber, painter's hat, lizard, worm, beetle, wasp, moose, weasel, ferret, ostrich, peacock, flamingo, lobster, squid""")

FOODS = words("""cheese, bread, honey, cake, apple pie, pancakes, chocolate, strawberries, carrots, pears, plums, nuts,
biscuits, grapes, cherries, pumpkin pie, lemon cake, toast, pizza, mushrooms, oranges, bananas, apples, sandwiches,
dumplings, raisins, berry jam, plum cake, warm rolls, fried potatoes""")

SNACKS = words(
    "strawberries, carrots, pears, plums, nuts, biscuits, grapes, cherries, oranges, apples, raisins, mushrooms"
)

FRAGILE = words("""cup, plate, bowl, teapot, mirror, lamp, violin, flute, clock, watch, lantern, doll, guitar, mask,
telescope, umbrella, comb, camera, compass, kite, candle, drum, crown""")
