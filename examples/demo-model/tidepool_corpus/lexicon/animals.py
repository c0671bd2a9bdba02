"""Animals, smallest first, so that two of them can be compared by their position."""

from .tables import table, words

# name | plural | food | home | sound it makes | young | feature | legs
ANIMALS = table("""
ant|ants|seeds and crumbs|nests under the ground|makes almost no sound|larva|a narrow waist|6
ladybird|ladybirds|tiny green insects|gardens and fields|makes no sound|larva|red wings with black dots|6
bee|bees|nectar and pollen|hives|buzzes|larva|a striped body|6
butterfly|butterflies|nectar from flowers|meadows and gardens|makes no sound|caterpillar|bright wings|6
spider|spiders|flies and small insects|webs in quiet corners|makes no sound|spiderling|thin hairy legs|8
snail|snails|leaves and soft fruit|damp gardens|makes no sound|hatchling|a round shell|0
mouse|mice|seeds and grain|small holes in walls and fields|squeaks|pup|a long thin tail|4
bat|bats|moths and fruit|caves and old barns|squeaks|pup|soft leathery wings|2
robin|robins|worms and berries|gardens and woods|sings|chick|a red breast|2
sparrow|sparrows|seeds and crumbs|towns and hedges|chirps|chick|small brown wings|2
frog|frogs|flies and worms|ponds|croaks|tadpole|long jumping legs|4
hamster|hamsters|seeds and vegetables|burrows|squeaks|pup|round cheeks|4
squirrel|squirrels|nuts and seeds|tall trees|chatters|kit|a fluffy tail|4
hedgehog|hedgehogs|insects and worms|hedges and gardens|snuffles|hoglet|sharp spines|4
pigeon|pigeons|seeds and bread|towns and cliffs|coos|squab|soft grey feathers|2
crow|crows|seeds and insects|tall trees|caws|chick|shiny black feathers|2
parrot|parrots|fruit and nuts|warm forests|squawks|chick|bright feathers|2
crab|crabs|seaweed and small fish|rocky beaches|clicks|larva|two strong claws|10
owl|owls|mice and insects|hollow trees|hoots|owlet|big round eyes|2
rabbit|rabbits|grass and carrots|burrows in the meadow|squeaks|kitten|long ears|4
snake|snakes|mice and eggs|warm grassland and woods|hisses|hatchling|smooth scales|0
hen|hens|corn and worms|farmyards|clucks|chick|brown feathers|2
duck|ducks|water plants and snails|ponds and rivers|quacks|duckling|flat yellow feet|2
seagull|seagulls|fish and scraps|cliffs by the sea|cries|chick|long white wings|2
cat|cats|fish and meat|houses and farms|meows|kitten|soft fur|4
octopus|octopuses|crabs and small fish|rocky seas|makes no sound|hatchling|eight long arms|0
turtle|turtles|plants and small fish|warm seas and rivers|hisses|hatchling|a hard shell|4
goose|geese|grass and grain|lakes and farms|honks|gosling|a long neck|2
fox|foxes|mice, eggs and berries|dens in the forest|barks|cub|a bushy red tail|4
eagle|eagles|fish and rabbits|high cliffs|screams|eaglet|sharp eyes|2
raccoon|raccoons|fruit, nuts and eggs|hollow trees near water|chatters|kit|a black mask|4
otter|otters|fish and crabs|rivers|whistles|pup|thick brown fur|4
swan|swans|water plants|lakes and rivers|hisses|cygnet|a long white neck|2
koala|koalas|eucalyptus leaves|eucalyptus trees|bellows|joey|fluffy ears|4
monkey|monkeys|fruit and leaves|warm forests|chatters|infant|a long curly tail|4
badger|badgers|worms, roots and fruit|burrows in the woods|growls|cub|a striped face|4
beaver|beavers|bark and leaves|lodges in rivers|slaps the water with its tail|kit|a flat tail|4
penguin|penguins|fish|cold coasts|honks|chick|black and white feathers|2
dog|dogs|meat and biscuits|homes with people|barks|puppy|a wagging tail|4
wolf|wolves|deer and rabbits|deep forests|howls|pup|a thick grey coat|4
goat|goats|grass and leaves|rocky hills|bleats|kid|curved horns|4
sheep|sheep|grass|green hills|bleats|lamb|thick wool|4
kangaroo|kangaroos|grass|dry plains|grunts|joey|strong back legs|4
deer|deer|grass and leaves|quiet woods|bellows|fawn|slim legs|4
seal|seals|fish and squid|cold seas|barks|pup|smooth grey skin|0
panda|pandas|bamboo|misty mountain forests|bleats|cub|black and white fur|4
pig|pigs|corn, roots and vegetables|farms|oinks|piglet|a curly tail|4
llama|llamas|grass and hay|high mountain meadows|hums|cria|soft wool|4
donkey|donkeys|hay and grass|farms|brays|foal|long ears|4
dolphin|dolphins|fish and squid|the sea|clicks and whistles|calf|a smooth grey back|0
lion|lions|meat|open plains|roars|cub|a golden mane|4
tiger|tigers|meat|deep jungles|roars|cub|orange and black stripes|4
zebra|zebras|grass|open plains|barks|foal|black and white stripes|4
bear|bears|berries, fish and honey|forests and caves|growls|cub|thick brown fur|4
horse|horses|hay, grass and oats|fields and stables|neighs|foal|a long mane|4
camel|camels|dry grass and thorny plants|deserts|grunts|calf|a hump on its back|4
crocodile|crocodiles|fish and meat|warm rivers|hisses|hatchling|sharp teeth|4
cow|cows|grass and hay|farms and meadows|moos|calf|a soft pink nose|4
shark|sharks|fish and squid|the open sea|makes no sound|pup|rows of sharp teeth|0
giraffe|giraffes|leaves from tall trees|open plains|hums|calf|a very long neck|4
hippo|hippos|grass|rivers and lakes|grunts|calf|a huge mouth|4
elephant|elephants|grass, leaves and fruit|forests and plains|trumpets|calf|a long trunk|4
whale|whales|small fish and krill|the deep sea|sings|calf|a huge tail|0
""")

FLIERS = set(
    words("""bee, ladybird, butterfly, bat, robin, sparrow, crow, pigeon, parrot, owl, duck, seagull, goose, eagle,
swan, hen""")
)
