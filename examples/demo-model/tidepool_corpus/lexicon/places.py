"""Places, weather and the subjects of poems and descriptions."""

from .tables import table, words

SPOTS = words("""under the old bridge, behind the barn, beside the well, at the foot of a tall tree, near the river,
under a bench, next to the garden gate, in the long grass, behind a big stone, at the edge of the path, by the mill,
under a pile of leaves, on a flat rock, beside the fence, in a hollow log, at the bottom of the stairs""")

NATURE = words("""sea, moon, rain, sun, wind, snow, river, forest, night, morning, sky, ocean, mountain, garden, spring,
summer, autumn, winter, storm, rose, old oak tree, evening star, lake, desert, harbour, train, city, library, fire,
rainbow, cloud, island, road home, lighthouse, first day of school, friendship, music, silence, time, hope, coffee, tea, love, joy, peace, home, sleep, honey, chocolate, happiness""")

NO_ARTICLE = set(
    words("""spring, summer, autumn, winter, friendship, music, silence, time, hope, coffee, tea, love, joy, peace,
home, sleep, honey, chocolate, happiness""")
)

# place | with preposition | sights | sound | smell
PLACES = table("""
forest|in the forest|tall trees, mossy stones and narrow paths|birds calling to each other|pine needles and damp earth
mountains|in the mountains|grey peaks, steep paths and cold streams|the wind between the rocks|clean cold air
sea|by the sea|long waves, wet rocks and small boats|gulls and breaking waves|salt and seaweed
beach|on the beach|soft sand, pink shells and blue water|the waves rolling in|salt and warm sand
desert|in the desert|high dunes, dry bushes and endless sand|the quiet hiss of the sand|dust and hot stone
village|in the village|small houses, crooked roofs and a stone well|a bell in the distance|fresh bread
city|in the city|high towers, busy streets and bright windows|cars and hurried steps|coffee and warm stone
farm|on the farm|red barns, muddy paths and sleepy cows|hens talking in the yard|hay and warm milk
garden|in the garden|red roses, neat rows of beans and a green bench|bees in the flowers|roses and wet grass
park|in the park|old trees, wooden benches and a round pond|children laughing|cut grass
meadow|in the meadow|tall grass, yellow flowers and white butterflies|crickets in the grass|clover and sunshine
river|by the river|green reeds, smooth stones and slow water|water running over stones|mud and wild mint
lake|by the lake|still water, tall reeds and a wooden pier|small waves against the pier|fresh water and wood
island|on the island|palm trees, white sand and clear water|waves on every side|salt and ripe fruit
harbour|in the harbour|fishing boats, thick ropes and stacked crates|ropes creaking in the wind|fish and tar
market|at the market|baskets of fruit, bright cloth and busy stalls|people calling out prices|ripe apples and spices
library|in the library|high shelves, quiet readers and green lamps|pages being turned|old paper
school|at school|wooden desks, paper stars and a big blackboard|children whispering|chalk and pencils
kitchen|in the kitchen|copper pots, a big table and a warm stove|a kettle starting to sing|cinnamon and toast
castle|in the castle|stone walls, long halls and high towers|footsteps on the stairs|candle wax and cold stone
cave|in the cave|dark corners, wet walls and strange shapes|water dripping slowly|cold stone
jungle|in the jungle|giant leaves, hanging vines and bright birds|monkeys shouting in the trees|wet leaves and flowers
valley|in the valley|green fields, a winding road and tiny houses|cowbells far away|grass and wood smoke
hills|in the hills|round green hills, stone walls and white sheep|sheep calling|heather and grass
swamp|in the swamp|dark pools, twisted roots and pale flowers|frogs and buzzing flies|mud and wet leaves
orchard|in the orchard|rows of apple trees, tall ladders and full baskets|leaves rustling|ripe apples
station|at the station|long tracks, a big clock and tired travellers|a train far away|metal and coffee
bakery|in the bakery|round loaves, sweet buns and a hot oven|the oven door opening|warm bread
museum|in the museum|old paintings, glass cases and silent halls|slow steps on the floor|wood polish
mill|at the old mill|a big wheel, sacks of flour and a narrow bridge|the wheel turning in the water|flour and wet wood
lighthouse|at the lighthouse|white walls, a winding stair and a great lamp|waves far below|salt and lamp oil
pond|by the pond|green lily pads, small fish and tall reeds|frogs singing|mud and water flowers
street|on a quiet street|small shops, stone steps and a sleeping cat|a door closing softly|rain and bread
attic|in the attic|dusty boxes, old coats and a small round window|wood creaking|dust and old paper
countryside|in the countryside|golden fields, low hedges and white clouds|larks above the fields|grass and warm earth
north|in the far north|white hills, frozen lakes and a pale sky|snow under your boots|ice and pine
moon|on the moon|grey dust, round craters and a black sky|nothing at all|dust and metal
cafe|in a small cafe|round tables, blue cups and steamy windows|spoons in cups|coffee and cake
woods|in the woods|thin birches, soft moss and brown leaves|a woodpecker at work|mushrooms and wet bark
coast|on the coast|white cliffs, green grass and rolling water|the wind and the gulls|salt and grass
""")

# generic details for cities and other places without an entry in PLACES
ANYWHERE = ("old houses, tall trees and people on their way", "voices and footsteps", "fresh bread and rain")

# weather word | opening | sky | detail | feeling
WEATHER = table("""
rainy|Rain falls softly [all day|from morning to night]|The sky is [grey and low|full of heavy clouds]|Small drops run down [everything|the leaves and the windows]|[calm|quiet|sleepy]
sunny|The sun shines [brightly|warmly] [all day|from early morning]|The sky is [clear and blue|wide and bright]|Warm light lies over [everything|every corner]|[happy|cheerful|light]
snowy|Snow covers everything like a [white blanket|soft carpet]|The sky is [pale and quiet|white from end to end]|Every step makes a soft crunching sound|[peaceful|calm|quiet]
windy|The wind [blows hard|pushes and pulls at everything]|Clouds race across the sky|Leaves and dust [dance|spin] in the air|[restless|wide awake|lively]
foggy|Thick fog hides [everything more than a few steps away|the edges of the world]|The sky cannot be seen at all|Shapes appear slowly and then fade away|[dreamy|quiet|a little lost]
stormy|[A storm is coming|Thunder rolls] and the air feels heavy|The sky is [dark and wild|almost black]|Lightning flashes and the rain drums down|[small|excited|awake]
cloudy|Soft clouds hang over everything|The sky is [grey but gentle|covered from end to end]|The light is [mild|soft] and there are no sharp shadows|[calm|thoughtful|slow]
cold|The air is [sharp and cold|icy] and every breath makes a little cloud|The sky is pale|Frost sparkles on [everything|the ground]|[fresh|awake|brave]
hot|The heat [lies over everything|shimmers in the air]|The sky is [white with light|deep blue and empty]|Everyone looks for a place in the shade|[slow|lazy|sleepy]
misty|A thin mist [drifts over the ground|hangs in the air]|The sky is [silver|soft and pale]|Drops of water shine on every thread and twig|[dreamy|peaceful|still]
warm|The air is warm and [mild|soft]|The sky is [blue with a few small clouds|clear]|A light breeze [comes and goes|moves the leaves]|[content|happy|easy]
""")

PARTS_OF_DAY = words("day, morning, afternoon, evening, night")
