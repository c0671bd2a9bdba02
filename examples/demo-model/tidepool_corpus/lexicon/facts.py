"""Facts that fit a table: colours, capitals, opposites, lists, days, months and numbers."""

from .tables import table, words

COLOURS = table("""
the sky|blue
grass|green
snow|white
the sun|yellow
a lemon|yellow
a banana|yellow
a strawberry|red
a tomato|red
a carrot|orange
an orange|orange
coal|black
the night sky|black
milk|white
chocolate|brown
the sea|blue
a leaf|green
a frog|green
a polar bear|white
an elephant|grey
a pig|pink
a crow|black
a cherry|red
a plum|purple
a fire engine|red
gold|yellow
a cucumber|green
a pumpkin|orange
a flamingo|pink
a raven|black
honey|golden yellow
blood|red
rice|white
a blueberry|blue
a lime|green
salt|white
wood|brown
""")

CAPITALS = table("""
France|Paris
Germany|Berlin
Italy|Rome
Spain|Madrid
Portugal|Lisbon
England|London
Scotland|Edinburgh
Wales|Cardiff
Ireland|Dublin
Norway|Oslo
Sweden|Stockholm
Denmark|Copenhagen
Finland|Helsinki
Iceland|Reykjavik
Poland|Warsaw
Austria|Vienna
Switzerland|Bern
Belgium|Brussels
the Netherlands|Amsterdam
Greece|Athens
Turkey|Ankara
Hungary|Budapest
Romania|Bucharest
Bulgaria|Sofia
Croatia|Zagreb
Serbia|Belgrade
Ukraine|Kyiv
Russia|Moscow
Estonia|Tallinn
Latvia|Riga
Lithuania|Vilnius
Czechia|Prague
Slovakia|Bratislava
Slovenia|Ljubljana
Egypt|Cairo
Morocco|Rabat
Kenya|Nairobi
Ghana|Accra
Nigeria|Abuja
Ethiopia|Addis Ababa
Japan|Tokyo
China|Beijing
India|New Delhi
Thailand|Bangkok
Vietnam|Hanoi
South Korea|Seoul
Indonesia|Jakarta
Nepal|Kathmandu
Canada|Ottawa
the United States|Washington
Mexico|Mexico City
Cuba|Havana
Brazil|Brasilia
Argentina|Buenos Aires
Chile|Santiago
Peru|Lima
Colombia|Bogota
Australia|Canberra
New Zealand|Wellington
""")

OPPOSITES = table("""
hot|cold
big|small
tall|short
happy|sad
day|night
up|down
left|right
fast|slow
old|young
new|old
light|dark
hard|soft
wet|dry
open|closed
full|empty
early|late
strong|weak
loud|quiet
rich|poor
clean|dirty
near|far
high|low
thick|thin
wide|narrow
sweet|sour
heavy|light
good|bad
true|false
first|last
inside|outside
brave|afraid
easy|difficult
hungry|full
cheap|expensive
deep|shallow
sharp|blunt
asleep|awake
summer|winter
friend|enemy
start|finish
win|lose
laugh|cry
give|take
push|pull
remember|forget
buy|sell
love|hate
question|answer
always|never
above|below
smooth|rough
noisy|quiet
""")

CATEGORIES = {
    "animals": words(
        "a fox, a bear, a hen, an owl, a whale, a horse, a mouse, a cat, a dog, a goat, a lion, a duck, a camel, a rabbit, a turtle"
    ),
    "birds": words(
        "the robin, the owl, the crow, the eagle, the swan, the parrot, the sparrow, the duck, the goose, the pigeon"
    ),
    "fruits": words("apples, pears, plums, cherries, bananas, grapes, oranges, lemons, strawberries, peaches"),
    "vegetables": words("carrots, peas, beans, potatoes, onions, cabbage, spinach, pumpkin, leeks, beetroot"),
    "colours": words("red, blue, green, yellow, orange, purple, black, white, brown, pink, grey"),
    "countries": words("France, Italy, Japan, Brazil, Egypt, Canada, India, Norway, Kenya, Peru, Spain, Greece"),
    "cities": words("Paris, Rome, Tokyo, Cairo, Lima, Oslo, London, Berlin, Madrid, Vienna, Athens, Prague"),
    "flowers": words("roses, tulips, daisies, lilies, violets, sunflowers, poppies, bluebells, daffodils"),
    "trees": words("oak, pine, birch, maple, willow, apple, ash, beech, chestnut"),
    "tools": words("a hammer, a saw, a spade, a rake, a drill, a ladder, a screwdriver, an axe"),
    "instruments": words("the piano, the violin, the flute, the drum, the guitar, the trumpet, the harp, the cello"),
    "drinks": words("water, tea, coffee, milk, apple juice, lemonade, hot chocolate"),
    "sports": words("football, tennis, swimming, running, rowing, skiing, cycling, chess"),
    "planets": words("Mercury, Venus, Earth, Mars, Jupiter, Saturn, Uranus, Neptune"),
    "shapes": words("a circle, a square, a triangle, a rectangle, an oval, a star"),
    "clothes": words("a hat, a coat, a scarf, a shirt, a pair of socks, a jumper, a dress, a pair of boots"),
    "jobs": words("baker, doctor, teacher, farmer, sailor, painter, pilot, nurse, gardener, cook"),
    "feelings": words("joy, fear, anger, hope, love, pride, surprise, sadness"),
    "foods": words("bread, soup, cheese, rice, pasta, salad, pancakes, pie, porridge"),
    "metals": words("gold, silver, iron, copper, tin, lead, zinc"),
    "rooms": words("the kitchen, the bedroom, the bathroom, the living room, the attic, the hall"),
    "insects": words("ants, bees, butterflies, ladybirds, beetles, flies, moths, wasps"),
    "sea animals": words("a crab, a whale, a dolphin, a seal, a starfish, an octopus, a shark, a turtle"),
    "farm animals": words("a cow, a pig, a hen, a goat, a sheep, a horse, a donkey, a duck"),
    "words that rhyme with cat": words("hat, mat, bat, rat, flat, that"),
    "words that rhyme with tree": words("sea, bee, free, key, three, me"),
    "words that rhyme with moon": words("soon, spoon, tune, June, noon, balloon"),
    "words that rhyme with light": words("night, bright, kite, white, flight, right"),
    "words that rhyme with day": words("play, way, say, grey, stay, hay"),
}

DAYS = words("Monday, Tuesday, Wednesday, Thursday, Friday, Saturday, Sunday")

MONTHS = words("January, February, March, April, May, June, July, August, September, October, November, December")

NUMBER_WORDS = words("zero, one, two, three, four, five, six, seven, eight, nine, ten, eleven, twelve")
