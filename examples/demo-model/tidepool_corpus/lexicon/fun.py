"""Jokes and riddles."""

from .tables import table

# topic | set-up | answer
JOKES = table("""
fox|Why did the fox bring a ladder to the henhouse?|It wanted to take its lunch to the next level.
bear|Why did the bear sleep all winter?|Nobody dared to wake it up.
cat|Why did the cat sit on the computer?|It wanted to keep an eye on the mouse.
dog|Why did the dog sit next to the clock?|It wanted to be a watch dog.
cow|Why did the cow take up singing?|It was in a good moo-d.
duck|Why did the duck pay so late?|It could not find its bill.
hen|Why did the hen join the band?|It already had the drumsticks.
owl|Why did the owl win the quiz?|It always knew who.
snail|Why did the snail paint its shell?|It wanted a new house without moving.
horse|Why did the horse leave the table?|It was already in a stable place.
sheep|Why did the sheep visit the tailor?|It wanted to see its old coat again.
elephant|Why did the elephant bring a suitcase?|Its trunk was already full.
bee|Why do bees hum so much?|They have forgotten the words.
fish|Why are fish so clever?|They spend all their time in schools.
crab|Why did the crab never share its lunch?|It was a little shellfish.
penguin|Why did the penguin go to the party alone?|Its friends were too cool to come.
robot|Why was the robot so tired?|It had a hard drive home.
computer|Why did the computer go to the doctor?|It had caught a virus.
book|Why did the book wear a coat?|It had lost its cover.
clock|Why was the clock sent home from school?|It was always tocking in class.
pencil|Why did the pencil stop writing?|It could not see the point.
bread|Why did the bread stay in bed?|It wanted to rise a little more.
cheese|Why did the cheese look in the mirror?|It wanted to see if it had aged well.
egg|Why did the egg stay at home?|It was afraid to crack up.
apple|Why did the apple go to school?|It wanted to be more than just a snack.
banana|Why did the banana visit the doctor?|It was not peeling well.
moon|Why did the moon skip dinner?|It was already full.
sun|Why did the sun stay in school?|It wanted to get a little brighter.
sea|Why is the sea so friendly?|It always waves.
tree|Why did the tree get lost?|It took the wrong branch.
river|Why is the river so rich?|It has two banks.
wind|Why did nobody see the wind come in?|It just blew by.
train|Why did the train sit down?|It had lost its train of thought.
king|Why did the king carry a ruler?|He wanted to know how long he would reign.
teacher|Why did the teacher wear sunglasses?|The class was so bright.
baker|Why did the baker work so hard?|He needed the dough.
gardener|Why did the gardener talk so quietly?|He did not want the corn to hear with its ears.
pirate|Why did the pirate take so long to learn the alphabet?|He always got lost at C.
ghost|Why did the ghost stay at home?|It had no body to go out with.
snowman|Why did the snowman look through the carrots?|He was picking his nose.
""")

RIDDLES = table("""
I have hands but cannot clap. What am I?|a clock
I have teeth but never bite. What am I?|a comb
I have a neck but no head. What am I?|a bottle
I have an eye but cannot see. What am I?|a needle
I have legs but cannot walk. What am I?|a table
I have leaves but I am not a tree. What am I?|a book
I have keys but open no doors. What am I?|a piano
I run all day but never leave my bed. What am I?|a river
I get wetter the more I dry. What am I?|a towel
I follow you in the sun and hide in the dark. What am I?|your shadow
I fall but never get hurt. What am I?|the rain
I fly without wings and cry without eyes. What am I?|a cloud
I get shorter as I grow older. What am I?|a candle
I have cities but no houses and rivers but no water. What am I?|a map
I am full of holes but can hold water. What am I?|a sponge
I go up and down but never move. What am I?|a staircase
I speak every language but have no mouth. What am I?|an echo
I have a face but no nose and two hands but no arms. What am I?|a clock
I wear a cap but have no head. What am I?|a bottle
I am white, I fall from the sky and I melt in your hand. What am I?|snow
I have a bed but never sleep. What am I?|a river
I carry my house on my back. What am I?|a snail
The more you take away from me, the bigger I get. What am I?|a hole
I can be cracked, told and played, and I make you laugh. What am I?|a joke
""")
