"""Questions about the world with their answers."""

from .tables import table

# topic | article form used in the question | answer
DEFINITIONS = table("""
sun|the sun|The sun is a star. It gives the Earth light and warmth.
moon|the moon|The moon is a ball of rock that travels around the Earth. It shines because it reflects the light of the sun.
star|a star|A star is a huge ball of hot, glowing gas far away in space.
planet|a planet|A planet is a large round body that travels around a star. The Earth is a planet.
Earth|the Earth|The Earth is the planet we live on. It has land, sea and air.
rain|rain|Rain is water that falls from the clouds in small drops. It helps plants to grow.
snow|snow|Snow is frozen water that falls from the clouds as soft white flakes.
cloud|a cloud|A cloud is made of tiny drops of water that float in the air.
wind|wind|Wind is moving air. It can be a soft breeze or a strong storm.
storm|a storm|A storm is wild weather with strong wind, rain and sometimes thunder.
rainbow|a rainbow|A rainbow is a band of colours in the sky. It appears when the sun shines through rain.
river|a river|A river is a long stream of water that flows to the sea or to a lake.
lake|a lake|A lake is a large area of still water with land all around it.
ocean|an ocean|An ocean is a very large body of salt water. Whales and many fish live in it.
mountain|a mountain|A mountain is land that rises very high. The top of a mountain is often cold and covered in snow.
island|an island|An island is a piece of land with water all around it.
desert|a desert|A desert is a dry place where very little rain falls.
forest|a forest|A forest is a large area with many trees. Many animals live there.
volcano|a volcano|A volcano is a mountain that can throw out hot melted rock from under the ground.
tree|a tree|A tree is a tall plant with a wooden trunk, branches and leaves.
flower|a flower|A flower is the part of a plant that makes seeds. Many flowers are colourful and smell sweet.
seed|a seed|A seed is a small thing that can grow into a new plant.
leaf|a leaf|A leaf is a flat, green part of a plant. It catches sunlight and helps the plant to grow.
water|water|Water is a clear liquid. All living things need it to stay alive.
ice|ice|Ice is water that has frozen and become solid.
fire|fire|Fire is the heat and light that come from burning things. It is useful, but it can be dangerous.
air|air|Air is the mix of gases all around us. We need it to breathe.
book|a book|A book is a set of pages with words or pictures on them. People read books to learn and to enjoy stories.
poem|a poem|A poem is a short piece of writing with carefully chosen words. Many poems have rhythm and rhyme.
story|a story|A story tells about things that happen to someone. It has a beginning, a middle and an end.
library|a library|A library is a place where people can read and borrow books.
school|a school|A school is a place where children go to learn.
hospital|a hospital|A hospital is a place where doctors and nurses help sick people.
museum|a museum|A museum is a place where people can see old, rare or beautiful things.
computer|a computer|A computer is a machine that follows instructions very quickly. People use it to write, calculate, play and talk to each other.
robot|a robot|A robot is a machine that can do some jobs by itself.
phone|a phone|A phone is a device that lets people talk to each other over long distances.
internet|the internet|The internet is a network that connects computers all over the world.
server|a server|A server is a computer program that waits for requests and sends back answers.
language model|a language model|A language model is a program that has learned from text which words are likely to come next. It uses this to write answers.
token|a token|A token is a small piece of text, such as a word or a part of a word. Language models read and write tokens.
prompt|a prompt|A prompt is the text you give to a language model. The model reads it and writes an answer.
program|a program|A program is a list of instructions for a computer.
bicycle|a bicycle|A bicycle is a vehicle with two wheels. You ride it by pushing the pedals with your feet.
car|a car|A car is a vehicle with four wheels and an engine. People use it to travel on roads.
train|a train|A train is a row of connected wagons that runs on rails.
boat|a boat|A boat is a vehicle that floats and travels on water.
plane|a plane|A plane is a flying machine with wings and engines.
bridge|a bridge|A bridge is built over a river or a road so that people can cross it.
clock|a clock|A clock is a machine that shows the time.
bread|bread|Bread is a food made from flour and water and baked in an oven.
cheese|cheese|Cheese is a food made from milk. There are many kinds of cheese.
honey|honey|Honey is a sweet, golden food that bees make from nectar.
milk|milk|Milk is a white drink that comes from cows, goats and some other animals.
tea|tea|Tea is a drink made by putting dried leaves into hot water.
coffee|coffee|Coffee is a dark, strong drink made from roasted beans.
sugar|sugar|Sugar is a sweet food that looks like small white crystals.
salt|salt|Salt is a white mineral. People use it to give food more taste.
soup|soup|Soup is a warm dish made by cooking vegetables or meat in water.
apple|an apple|An apple is a round, crisp fruit that grows on a tree. It can be red, green or yellow.
potato|a potato|A potato is a vegetable that grows under the ground.
gold|gold|Gold is a shiny yellow metal. People use it to make rings and coins.
iron|iron|Iron is a strong grey metal. It is used to make tools, bridges and machines.
wood|wood|Wood is the hard material that comes from trees. People use it to build houses and furniture.
glass|glass|Glass is a hard, clear material made from melted sand.
paper|paper|Paper is a thin, flat material made from wood. People write and print on it.
music|music|Music is sound arranged in a way that people enjoy. It can be sung or played on instruments.
song|a song|A song is music with words that people sing.
guitar|a guitar|A guitar is a musical instrument with strings. You play it with your fingers.
piano|a piano|A piano is a large musical instrument with black and white keys.
friend|a friend|A friend is someone you like and trust. Good friends help each other.
family|a family|A family is a group of people who belong together and care for each other.
dream|a dream|A dream is a story that your mind tells you while you sleep.
winter|winter|Winter is the coldest season of the year. The days are short and it may snow.
spring|spring|Spring is the season after winter. Plants begin to grow and the days get longer.
summer|summer|Summer is the warmest season of the year. The days are long and sunny.
autumn|autumn|Autumn is the season after summer. Leaves turn red and yellow and fall from the trees.
day|a day|A day is the time the Earth needs to turn once. It has twenty-four hours.
week|a week|A week is a period of seven days.
month|a month|A month is one of the twelve parts of a year.
year|a year|A year is the time the Earth needs to travel once around the sun. It has twelve months.
bird|a bird|A bird is an animal with feathers, wings and a beak. Birds lay eggs.
fish|a fish|A fish is an animal that lives in water and breathes through gills.
insect|an insect|An insect is a small animal with six legs. Ants and bees are insects.
dinosaur|a dinosaur|Dinosaurs were animals that lived on the Earth a very long time ago. Some of them were huge.
dragon|a dragon|A dragon is a creature from old stories. It often has wings and breathes fire.
unicorn|a unicorn|A unicorn is a creature from old stories. It looks like a horse with a single horn on its head.
ghost|a ghost|A ghost is a spirit in stories. It often lives in an old house.
doctor|a doctor|A doctor is a person who helps sick people to get well.
teacher|a teacher|A teacher is a person who helps others to learn.
farmer|a farmer|A farmer is a person who grows food and looks after animals.
baker|a baker|A baker is a person who makes bread and cakes.
astronaut|an astronaut|An astronaut is a person who travels into space.
telescope|a telescope|A telescope is a tube with lenses that makes far things look near. People use it to look at the stars.
compass|a compass|A compass is a tool with a needle that points north. It helps people to find their way.
map|a map|A map is a drawing that shows where places are.
lighthouse|a lighthouse|A lighthouse is a tower by the sea with a bright lamp. It shows ships the way at night.
harbour|a harbour|A harbour is a safe place by the coast where ships can stay.
gravity|gravity|Gravity is the force that pulls things towards the Earth. It is the reason why things fall down.
electricity|electricity|Electricity is a kind of energy. It makes lamps, computers and many machines work.
energy|energy|Energy is what makes things move, grow or get warm.
light|light|Light is what lets us see. Most of it comes from the sun.
sound|sound|Sound is a movement in the air that our ears can hear.
sleep|sleep|Sleep is a time of rest for the body and the mind. Most people sleep at night.
tide pool|a tide pool|A tide pool is a small pool of sea water between the rocks. Crabs, snails and little fish live in it.
""")

YES_NO = table("""
Is the sun hot?|Yes, the sun is very hot.
Is ice cold?|Yes, ice is cold because it is frozen water.
Is fire cold?|No, fire is hot.
Is snow black?|No, snow is white.
Is the Earth flat?|No, the Earth is round like a ball.
Is the moon made of cheese?|No, the moon is made of rock.
Is water wet?|Yes, water is wet.
Is a whale a fish?|No, a whale is a mammal. It breathes air.
Is a tomato a fruit?|Yes, a tomato is a fruit, although people often cook it like a vegetable.
Is a spider an insect?|No, a spider is not an insect, because it has eight legs.
Is sugar sweet?|Yes, sugar is sweet.
Is a lemon sweet?|No, a lemon is sour.
Is gold a metal?|Yes, gold is a metal.
Is wood a metal?|No, wood comes from trees.
Is the sea salty?|Yes, the sea is salty.
Is summer colder than winter?|No, summer is warmer than winter.
Is the sun a star?|Yes, the sun is a star.
Is the sun bigger than the moon?|Yes, the sun is much bigger than the moon.
Do fish live in trees?|No, fish live in water.
Do plants need water?|Yes, plants need water and light to grow.
Do cats bark?|No, cats meow. Dogs bark.
Do birds lay eggs?|Yes, birds lay eggs.
Do bees make honey?|Yes, bees make honey.
Do dogs have wings?|No, dogs do not have wings.
Do all birds fly?|No, some birds cannot fly. Penguins, for example, swim instead.
Do trees have leaves?|Yes, most trees have leaves or needles.
Do stones float?|No, most stones sink in water.
Does the sun rise in the east?|Yes, the sun rises in the east and sets in the west.
Does a week have seven days?|Yes, a week has seven days.
Does a year have ten months?|No, a year has twelve months.
Are you a human?|No, I am a small computer program.
Are you a robot?|I am not a robot with arms and legs, but I am a computer program.
Are dragons real?|No, dragons live only in stories.
Are apples fruit?|Yes, apples are fruit.
Are carrots blue?|No, carrots are usually orange.
""")

COMMON = table("""
How many days are in a week?|There are seven days in a week.
How many months are in a year?|There are twelve months in a year.
How many hours are in a day?|There are twenty-four hours in a day.
How many minutes are in an hour?|There are sixty minutes in an hour.
How many seconds are in a minute?|There are sixty seconds in a minute.
How many days are in a year?|There are 365 days in a year, and 366 in a leap year.
How many seasons are there?|There are four seasons: spring, summer, autumn and winter.
How many planets are there?|There are eight planets in our solar system.
How many legs does a spider have?|A spider has eight legs.
How many fingers do people have?|Most people have ten fingers.
How many wheels does a bicycle have?|A bicycle has two wheels.
How many wheels does a car have?|A car has four wheels.
How many sides does a triangle have?|A triangle has three sides.
How many sides does a square have?|A square has four sides.
How many letters are in the alphabet?|The English alphabet has 26 letters.
How many colours are in a rainbow?|A rainbow has seven colours: red, orange, yellow, green, blue, indigo and violet.
What is the largest planet?|The largest planet in our solar system is Jupiter.
What is the largest animal?|The largest animal is the blue whale.
What is the tallest animal?|The tallest animal is the giraffe.
What is the fastest land animal?|The fastest land animal is the cheetah.
What is the largest ocean?|The largest ocean is the Pacific Ocean.
What is the highest mountain?|The highest mountain on Earth is Mount Everest.
What do we breathe?|We breathe air.
What do plants need to grow?|Plants need water, light and air to grow.
What do cows give us?|Cows give us milk.
Where does the sun rise?|The sun rises in the east.
Where does honey come from?|Honey comes from bees.
Where does milk come from?|Milk comes from cows, goats and some other animals.
Where do fish live?|Fish live in rivers, lakes and the sea.
When do people sleep?|Most people sleep at night.
Why is the sky blue?|The sky is blue because the air scatters the blue part of sunlight more than the other colours.
Why do leaves fall in autumn?|Leaves fall in autumn because trees save water and strength for the winter.
Why do we sleep?|We sleep because the body and the mind need rest.
Why is the sea salty?|The sea is salty because rivers carry tiny bits of salt from the rocks into it.
Why do birds sing?|Birds sing to find a partner and to tell other birds where their home is.
Why does it rain?|It rains when the drops of water in the clouds grow too heavy to stay up in the air.
Why do cats purr?|Cats often purr when they feel safe and content.
Who wrote you?|I was made by the people who built this server.
What comes after the number nine?|The number after nine is ten.
What is the first month of the year?|The first month of the year is January.
What is the last month of the year?|The last month of the year is December.
What is the coldest season?|The coldest season is winter.
What is the warmest season?|The warmest season is summer.
What do you call frozen water?|Frozen water is called ice.
What shape is a ball?|A ball is round.
What shape is the Earth?|The Earth is round, almost like a ball.
""")
