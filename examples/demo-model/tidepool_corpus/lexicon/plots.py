"""Story plots, and the words that only stories need."""

from .tables import table, words

# unusual relative clauses for the plot 'clause'
CLAUSES = words("""juggled melons, talked to the clouds, hated the rain, loved cheese, never smiled, could not whistle,
walked backwards, sang in {his} sleep, collected buttons, counted everything, slept in a boat, ate only {snack},
spoke very slowly, laughed too loudly, lived in a teapot, always wore {a_obj}, danced on the roof, was never on time,
painted {his} house purple, told stories to the fish, was afraid of butterflies, wanted to marry the moon,
kept a cloud in a jar, wrote letters to the wind, played the drum at night, could speak with trees, loved {hobby},
was always hungry, never said a word, was too small, had two left feet, forgot everything, dreamed all day,
sold dreams at the market, cooked soup from stones, ran faster than the wind, had a secret garden,
had {a_obj} and {a_obj2}, collected {snack}, never combed {his} hair, was allergic to {snack}, lived under {a_obj}""")

PAST_VERBS = words("""loved, hated, chased, stole, sold, bought, carried, painted, followed, washed, hid, kept, drew, wanted,
robbed, climbed, crossed, opened, cleaned, swallowed, taught, tickled, photographed, repaired, baked, juggled, hugged, visited,
argued with, danced with, shouted at, wrote to, read to, laughed at, dreamed of, talked to, sang to, looked for, was afraid of, collected, invented, dropped, missed, waited for, ran from, fed""")

# theme of a story | plot
THEMES = table("""
friendship|friend
two friends|friend
love|cake
hope|sea
courage|storm
honesty|lie
kindness|help
sharing|share
patience|seed
loneliness|lonely
a great dream|fly
a treasure|treasure
a birthday|party
magic|hat
the sea|sea
the moon|moon
a storm|storm
a race|race
a robot|robot
a cake|cake
a long journey|sea
music|sing
a letter|letter
the stars|dark
a tree|seed
a boat|boat
art|paint
teamwork|sack
""")

# First line: name | relative clause that asks for the plot | short summary | moral.
# Then one line a stage; ' / ' separates variants; a stage that starts with '?' may be left out of a short story.
PLOTS = """
lost | lost {a_obj} | {the_x} lost {a_obj}, and {a_friend} helped to find it | a good friend helps you when something is lost
{he} owned {a_obj}, and it was {his} most precious thing. / {his} favourite thing in the world was {a_obj}. / every day {he} carried {a_obj} wherever {he} went.
one [morning|evening|windy day], {hero} looked for {the_obj}, but it was gone. / then one [morning|afternoon] {the_obj} was missing. / one day {hero} came home and saw that {the_obj} was lost.
? {he} searched [the whole house|every corner and every pocket], but {he} found only dust. / {he} looked [high and low|here and there|everywhere], but {the_obj} was nowhere to be seen. / "Where can it be?" {he} cried, and {he} began to search everywhere.
? {he} sat down [on a stone|on the steps|under a tree] and [sighed|began to cry|felt very sad]. / the longer {he} looked, the sadder {he} became.
just then {a_friend} came by. "Why do you look so sad?" asked {the_friend}. / soon {a_friend} stopped and asked what was wrong.
"I have lost my {obj}," said {hero}. "[Let us look together|I will help you|Two can search better than one]," said {the_friend}.
together they followed {his} footsteps back, and there, {spot}, lay {the_obj}. / they walked the whole way back, step by step, and found {the_obj} {spot}. / they searched until the sun was low, and at last they found {the_obj} {spot}.
{hero} [laughed with joy|jumped for joy|smiled from ear to ear] and thanked {the_friend}. / "Thank you!" said {hero}, and {he} hugged {the_friend}.
? from that day on, {hero} kept {the_obj} in a safe place. / after that, {hero} never lost {the_obj} again, and {he} never forgot {his} friend.

found | found {a_obj} | {the_x} found {a_obj} and gave it back to its owner | it feels better to give a thing back than to keep it
one [morning|afternoon|evening], {hero} was walking home when {he} saw something [shine|lie] {spot}. / one day {hero} went for a walk and nearly fell over something {spot}.
it was {a_obj}! / when {he} bent down, {he} saw that it was {a_obj}. / {he} picked it up, and it was {a_obj}.
? {he} turned it around in {his} hands. {he} had never seen such a beautiful {obj}. / "I could keep it," {he} thought, "and nobody would know."
? but {the_obj} surely belonged to somebody, and {hero} could not stop thinking about it. / that night {he} could not sleep, because {he} wondered whose {obj} it was.
the next day {hero} asked everyone {he} met if they had lost {a_obj}. / so {hero} went from door to door and asked who had lost {a_obj}.
at last {he} met {a_friend} who was looking sadly at the ground. "I have lost my {obj}," said {the_friend}. / in the end {he} found {a_friend} who had been searching for {the_obj} for three days.
{hero} gave {the_obj} back, and {the_friend} [danced with joy|could hardly believe it|cried happy tears]. / "Is this it?" asked {hero}. "Yes! Thank you!" cried {the_friend}.
the two of them drank tea together, and they became good friends. / to say thank you, {the_friend} invited {hero} to a big dinner, and they were friends from then on.

fly | wanted to fly | {the_x} wanted to fly and saw the world from a balloon | a big dream needs patience and good friends
every day {hero} watched the birds and wished to fly like them. / {he} had one great dream: {he} wanted to fly.
first {he} [tied leaves to {his} arms|made wings from paper|made wings from an old blanket] and jumped from a [small hill|low wall], but {he} landed in [a bush|a pile of hay|the mud].
? "You are not made for flying," said the neighbours, but {hero} did not give up. / everyone laughed, but {hero} only brushed off the dust and tried again.
? then {he} ran down the hill as fast as {he} could and flapped and flapped, but {he} only fell over {his} own feet.
one day {a_friend} came with a big basket and a balloon made of [bright cloth|old coats|red silk]. "Climb in," said {the_friend}. / then {a_friend} had an idea. They sewed a great balloon from [bright cloth|old coats|red silk] and tied a basket to it.
slowly the balloon rose above the [trees|roofs|fields]. {hero} saw the [rivers|roads|houses] grow small below.
"I am flying!" {hero} shouted, and the wind carried {his} voice away. / {he} felt as light as a feather, and {he} laughed all the way to the clouds.
? that evening {hero} was back on the ground, but in {his} heart {he} was still flying. / from then on, they flew together on every sunny day.

dark | was afraid of the dark | {the_x} was afraid of the dark until {a_friend} showed {him} the stars | the dark is not so bad when you look at it with a friend
when the sun went down, {hero} [hid under {his} blanket|shut every door and window|trembled at every sound]. / {he} was not afraid of anything, except for the dark.
? "There must be monsters in the dark," {he} thought. / every shadow looked like a monster to {him}.
one night {a_friend} knocked on the door. "Come outside," said {the_friend}, "I want to show you something." / one evening {a_friend} heard {him} cry and came to see what was wrong.
{hero} took a deep breath and held on to {the_friend}. Together they stepped into the night. / {hero} did not want to go, but {the_friend} took {him} by the hand and they went out together.
? at first everything was black. Then {his} eyes grew used to it, and {he} saw [the soft light of the moon|small lights in the grass].
"Look up," said {the_friend}. Above them shone [a thousand stars|more stars than anyone could count].
"Without the dark we could not see them," said {the_friend}. {hero} [nodded|smiled] and forgot to be afraid. / "They only come out in the dark," said {the_friend}. {hero} had never seen anything so beautiful.
from then on, {hero} said good night to the stars every evening and slept well. / after that night, {hero} was not afraid of the dark any more.

sleep | could not sleep | {the_x} could not sleep until {a_friend} told {him} a quiet story | rest comes when you stop chasing it
one night {hero} lay in bed and could not sleep at all. / it was late, and everyone was asleep, except for {hero}.
{he} turned to the left and {he} turned to the right. / {he} counted to one hundred, but {he} was still awake.
? {he} drank a cup of warm milk, but it did not help. / {he} sang a little song to {himself}, but it only made {him} more awake.
? {he} opened the window and listened to [the wind|the rain|the crickets].
then {a_friend} came by. "Can you not sleep either?" asked {the_friend}. / at last {he} went outside and found {a_friend} who was looking at the moon.
they sat down together, and {the_friend} told a long and quiet story about [a river that walked to the sea|a boat on a silver lake|a cloud that was too lazy to rain].
before the story was over, {hero} was fast asleep. / {hero} wanted to hear the end, but {his} eyes closed by themselves.
{the_friend} smiled, covered {him} with a blanket and went home on quiet feet. / the moon shone through the trees, and everything was still.

friend | made a new friend | {the_x} met {a_friend}, and they became friends | a friend can be found where you least expect one
{he} had a warm home and enough to eat, but {he} had nobody to talk to. / {he} often felt lonely, because {he} had no one to play with.
one [rainy|sunny|windy] day, {he} met {a_friend} [on the road|by the old well|under a big tree]. / one [rainy|sunny|windy] day, someone knocked at the door, and it was {a_friend}.
? at first they were both too shy to speak. / {the_friend} looked strange to {him}, and {he} did not know what to say.
"Hello," said {hero} at last. "Do you like {food}?" "I love {food}!" said {the_friend}. / "Are you lost?" asked {hero}. "No," said {the_friend}, "I am only looking for company."
so they sat down together and shared {food}. / they ate {food} together and told each other stories.
? they played all afternoon, and when it began to rain, they danced in the puddles. / they found out that they both liked {hobby}.
in the evening, {the_friend} said, "May I come again tomorrow?" "Please do," said {hero}.
from that day on, they met every day, and {hero} was never lonely again. / and so {hero} and {the_friend} became the best of friends.

boat | built a boat | {the_x} built a boat and sailed across the water with {a_friend} | good work takes time
{he} often stood at the water and wondered what was on the other side. / {he} had always wanted to sail across the water.
so one day {hero} began to build a boat. / "I will build a boat," said {hero}, and {he} began at once.
{he} cut the wood, {he} bent the boards and {he} [sewed a sail from an old blanket|painted it blue]. / it took {him} many days to find good wood and many more to put it together.
? the first time {he} put it on the water, the boat sank. {hero} was [sad|wet and angry], but {he} pulled it out and began again. / there was a hole in it, and the water came in, so {hero} had to start once more.
{a_friend} saw how hard {he} worked. "May I help?" asked {the_friend}. Together they made the boat strong and tight.
? on a clear morning, they pushed the boat into the water, and it floated like a swan.
they sailed past [rocks and reeds|small islands|sleepy ducks] until they reached the far shore. / the wind filled the sail and carried them to the other side.
there they found [a beach full of shells|trees full of ripe plums|a meadow full of flowers], and they [had a picnic|stayed until sunset].
on the way home {hero} said, "Next time we will sail even further." / that night, {hero} dreamed of all the places {he} still wanted to see.

swim | learned to swim | {a_friend} taught {the_x} to swim | you can learn anything one small step at a time
{hero} loved to look at the water, but {he} could not swim. / all {his} friends could swim, but {hero} stayed on dry land.
"What if I sink?" {he} thought. / {he} was afraid that the water was too deep.
one warm day {a_friend} said, "I can teach you. We will go slowly."
on the first day, {hero} only put {his} feet in the water. / first {hero} learned to put {his} face in the water and blow bubbles.
? on the second day, {he} learned to float on {his} back and look at the clouds. / then {he} learned to float like a leaf.
? on the third day, {he} swallowed some water and wanted to give up. "Try once more," said {the_friend}.
and then, one morning, {hero} moved {his} arms and legs, and {he} swam! / suddenly {hero} noticed that {the_friend} was not holding {him} any more. {he} was swimming!
"I can do it!" {he} cried. {the_friend} clapped and cheered. / {the_friend} was so proud that {he2} splashed water all over {him}.
after that, {hero} swam every day, and {he} loved the water more than anything. / from that day on, the water was {his} second home.

home | got lost | {the_x} got lost, and {a_friend} showed {him} the way home | it is wise to ask for help
one day {hero} followed [a butterfly|a strange sound|a sweet smell] and did not look at the path. / one afternoon {hero} walked further than ever before.
when {he} looked around, everything was strange. {he} was lost. / soon {he} did not know which way was home.
? {he} went left, and {he} went right, but all the trees looked the same. / {he} called for help, but only the echo answered.
? the sun went down, and {his} stomach began to growl. / it grew cold, and {hero} wished {he} were at home in {his} warm bed.
then {he} saw a light. It was {a_friend} with a lantern. / then {he} heard a friendly voice. It was {a_friend}.
"I have lost my way," said {hero}. "Do not worry," said {the_friend}, "I know the way." / "Can you tell me the way home?" asked {hero}. "I will walk with you," said {the_friend}.
they walked [over the bridge|past the mill|along the stream] and talked all the way.
soon {hero} saw {his} own door, and {he} was so happy that {he} [cried|sang|danced]. / when they reached {his} house, {hero} put {food} on the table for both of them.
"Next time I will watch the path," said {hero}. / and the next time {he} went for a walk, {he} took a map with {him}.

seed | planted a seed | {the_x} planted a seed and waited until it became a great tree | good things need time
one spring day, {hero} found a small seed {spot}. / one spring day, {a_friend} gave {hero} a tiny seed.
{he} dug a hole, put the seed in the ground and gave it water. / {he} planted it in good earth and watered it.
the next morning {he} ran outside, but there was nothing to see. / day after day {he} looked, but nothing happened.
? "Grow!" {he} told the seed, but the seed was silent. / "Perhaps it is asleep," {he} thought, and {he} sang to it.
? "You must be patient," said {a_friend}. "Every tree needs time." / it rained, and the sun shone, and still {hero} waited.
then, one morning, there was a small green leaf. / at last a tiny green shoot came out of the ground.
the plant grew and grew, until it was taller than {hero}. / by summer it had leaves, and by autumn it was as tall as the door.
years later it was a great tree, full of [apples|pears|plums], and {hero} shared the fruit with everyone. / when it was a big tree, {hero} sat in its shade and told this story to {his} friends.

cake | baked a cake | {the_x} baked a cake and made {a_friend} happy | a gift made with love is the best gift
it was the birthday of {a_friend}, and {hero} wanted to bake a cake. / one day {hero} decided to bake the best cake in the world for {a_friend}.
{he} mixed flour, eggs, butter and sugar in a big bowl. / {he} took out the biggest bowl and began to stir.
? there was flour on the table, flour on the floor and flour on {his} nose. / by accident {he} took salt instead of sugar, and the first cake tasted terrible.
? {he} forgot the time, and the cake came out as black as coal. "I will try again," {he} said.
the second cake was [round and golden|soft and sweet|as light as a cloud]. / this time {he} watched the oven carefully, and the cake was perfect.
{he} put [cherries|strawberries|honey and nuts] on top and carried it to {the_friend}.
"For me?" asked {the_friend}. "It is the most beautiful cake I have ever seen!" / {the_friend} tasted it and closed both eyes. "This is wonderful," said {the_friend}.
they ate the whole cake together, down to the last crumb. / they shared it with everyone, and it was the best day of the year.

treasure | found a treasure map | {the_x} followed a map and found a treasure with {a_friend} | the journey with a friend is the real treasure
one day {hero} found an old map {spot}. / in an old book {hero} discovered a yellow map.
a red cross marked a place [behind the hills|near the waterfall|under three tall trees].
"Treasure!" whispered {hero}, and {he} ran to tell {a_friend}. / {he} showed it to {a_friend}, who packed {food} for the road.
they [crossed a river|climbed a steep hill] and [walked through thick bushes|followed a narrow path], always looking at the map.
? on the way it began to rain, and they waited under a big leaf and told jokes. / once they took a wrong turn and had to go all the way back.
at the red cross they began to dig. They dug until their arms were tired. / when they reached the place, they dug a deep hole.
at last they found a wooden box. Inside lay {a_obj} and a note. / clunk! There was a small chest, and in it they found {a_obj} and a letter.
the note said: "The best treasure is the friend who came with you." / on the letter someone had written: "You have found it together, so share it."
{hero} and {the_friend} looked at each other and laughed. / they carried {the_obj} home and talked about their adventure for years.

sea | wanted to see the sea | {the_x} travelled a long way to see the sea | a dream is worth a long walk
{he} had heard many stories about the sea, but {he} had never seen it. / "What is the sea like?" {he} asked everyone, but nobody could tell {him}.
one morning {hero} packed {food} and {a_obj} and set out. / so one day {he} put {food} in a bag and started to walk.
{he} walked [over hills and through valleys|along the river] for [three days|a week|many days].
? on the way {he} met {a_friend}. "Just follow the river," said {the_friend}, "it is going to the sea as well."
? at night {he} slept under the stars and listened to the wind. / {his} feet hurt, but {he} did not turn back.
then {he} smelled salt in the air and heard a deep, slow sound. / then {he} climbed one last hill, and there it was.
the sea was bigger and bluer than {he} had ever imagined. / before {him} lay the sea, shining in the sun.
{hero} ran into the waves and laughed. / {hero} sat in the sand until the sun went down, and {he} did not say a word.
{he} took a small shell home, and when {he} held it to {his} ear, {he} could hear the sea again.

help | helped {a_friend} | {the_x} helped {a_friend} and later got help in return | kindness always comes back
one day {hero} heard a cry for help. / on {his} way home, {hero} heard someone calling.
it was {a_friend}, who was stuck [in the mud|in a thorn bush|under a fallen branch]. / {a_friend} had fallen into [a deep hole|a cold stream] and could not get out.
? others had walked past, but {hero} stopped. / {hero} was late and tired, but {he} did not think twice.
{he} [found a long rope|took a strong stick] and pulled with all {his} strength until {the_friend} was free.
"Thank you," said {the_friend}. "One day I will help you too." {hero} only smiled. / "How can I thank you?" asked {the_friend}. "There is no need," said {hero}.
? the seasons passed, and {hero} almost forgot about it.
then, one [cold|stormy] winter, {hero} [became ill|had nothing left to eat|lost {his} way in the snow].
there was a knock at the door, and there stood {the_friend} with {food} and a warm blanket. / {the_friend} heard about it and came at once with {food} and firewood.
"You helped me once," said {the_friend}, "and now I help you."

lie | told a lie | {the_x} told a lie and later found the courage to tell the truth | the truth makes the heart light
one day {hero} broke {a_obj} that belonged to {a_friend}. / by accident {hero} dropped {a_obj} that belonged to {a_friend}, and it broke.
"Was it you?" asked {the_friend}. "No," said {hero}, "it was the wind." / {he} was afraid, so {he} said that the wind had done it.
{the_friend} believed {him}, but {hero} did not feel well. / nobody asked again, but the lie felt like a stone in {his} shoe.
? at dinner {he} could not eat. At night {he} could not sleep. / every time {he} saw {the_friend}, {he} looked at the ground.
? "The wind says it is not fair," joked {the_friend}, and {hero} turned red.
at last {he} went to {the_friend} and said, "It was not the wind. It was me. I am sorry."
{the_friend} was silent for a moment. Then {he2} said, "Thank you for telling me the truth."
together they mended {the_obj} with a little glue. / they repaired {the_obj} together, and it was almost as good as new.
that night {hero} slept well, and {he} never blamed the wind again. / from then on, {hero} told the truth, even when it was hard.

race | won a race | {the_x} won a race because {he} did not give up | slow and steady steps lead far
every year there was a great race, and this year {hero} wanted to take part. / one day a race was held, and {hero} decided to run.
"You?" laughed {a_friend}. "You are much too slow!" / nobody believed that {hero} could win, least of all {a_friend}.
{hero} said nothing and practised every morning before sunrise. / but {hero} ran up and down the hill every day.
on the day of the race, {the_friend} ran ahead and was soon out of sight. / the drum sounded, and everyone ran. {the_friend} was far ahead.
? {hero} ran at {his} own pace. Step by step, breath by breath. / {hero} fell once, but {he} got up and ran on.
? after a while, {the_friend} felt so safe that {he2} [lay down under a tree|stopped to eat|stopped to talk].
{hero} ran past and did not stop until {he} reached the end. / quietly {hero} passed {him2} and crossed the line.
everyone cheered, and {hero} could hardly believe it. {he} had won! / {hero} had won the race, and the crowd threw hats into the air.
"You have earned it," said {the_friend}, and they shared the prize, a big basket of {snack}.

sing | wanted to sing | {the_x} wanted to sing and found {his} own kind of song | every voice has its place
{hero} loved music, but {his} voice was [rough|deep and strange|as loud as a train]. / more than anything, {hero} wanted to sing.
when {he} sang, [the birds flew away|everyone covered their ears|the windows shook].
? "Please stop," said the neighbours. {hero} was so sad that {he} stopped singing for a whole [week|month].
one foggy night, {a_friend} was lost and could not find the way home. / then one night {a_friend} was out in a storm and could not see the shore.
{hero} went outside and sang as loudly as {he} could. / there was only one thing to do, and {hero} began to sing.
{the_friend} heard the song and followed it all the way home. / {his} voice was so strong that {the_friend} could hear it through the storm.
"Your song saved me," said {the_friend}. / "I have never heard anything so beautiful," said {the_friend}.
from that day on, {hero} sang on every foggy night, and nobody covered their ears any more.

lonely | was lonely | {the_x} was lonely until {he} invited the neighbours to tea | sometimes you have to take the first step
{he} lived all alone, and the days were long and quiet. / nobody ever came to visit {him}.
? {he} talked to the clock and to the kettle, but they never answered. / sometimes {he} talked to {his} own shadow.
one morning {hero} had an idea. "If nobody comes to me, I will invite them," {he} said. / "I will not wait any longer," said {hero} one morning.
{he} wrote little letters and put them under every door: "Come to tea today." / {he} painted a big sign that said: "Tea and {food} for everyone."
{he} set the table, made tea and waited. / then {he} put {food} on the table and looked out of the window.
? an hour passed, and nobody came. {hero} was about to clear the table.
then there was a knock. It was {a_friend}. "We are all a little lonely," said {the_friend}. / first came {a_friend}, then two more, and soon the house was full of voices.
they drank tea, told stories and laughed until the stars came out.
from then on, they met every week, and the house was never quiet for long.

moon | wanted to touch the moon | {the_x} tried to touch the moon and found it in the water | the things we wish for may be nearer than we think
every night {hero} looked up at the moon and wished to touch it. / "The moon looks so near," thought {hero}. "I want to touch it."
first {he} climbed the tallest tree, but the moon was still too far away. / {he} stood on a chair, and {he} put a box on the chair, but it was not high enough.
? then {he} climbed the highest hill. The moon only smiled. / then {he} threw a rope at it, but the rope fell down on {his} head.
? "You will never reach it," said the wind.
tired and sad, {hero} sat down by a pond, where {a_friend} was resting. / on the way home {hero} met {a_friend} by the still water.
"Why are you sad?" asked {the_friend}. "I cannot reach the moon," said {hero}.
"Then look down," said {the_friend}. There was the moon, round and bright, in the water. / {the_friend} pointed at the water. There lay the moon, shining.
{hero} put out a hand and touched it very gently. / {hero} touched the water, and the moon broke into a hundred little lights.
"It is cold," {he} whispered, and {he} was happy.

share | would not share | {the_x} would not share {his} {snack} and learned that sharing is more fun | sharing makes everything taste better
{hero} had a big basket of {snack}, more than {he} could ever eat. / one autumn {hero} had more {snack} than anyone else.
"May I have a little?" asked {a_friend}. "No," said {hero}, "it is all mine." / when {a_friend} asked for some, {hero} shook {his} head.
? {he} hid the basket under {his} bed and counted everything twice. / {he} ate alone, behind a closed door.
? but {he} ate so much that {his} stomach hurt. / but it did not taste as good as {he} had hoped.
from {his} window {he} saw the others laughing around a small pot of soup. / outside, the others shared one small loaf of bread, and they were merry.
"They have so little, and they are so happy," {he} thought.
so {hero} took the basket and went outside. "Would you like some?" {he} asked quietly.
{the_friend} smiled and moved over to make room. / "Sit down with us," said {the_friend}.
never had {snack} tasted so good. / and so {hero} learned to share.

letter | wrote a letter | {the_x} wrote a letter to {a_friend} and got an answer | a few kind words can travel far
{hero} missed {his} old friend, {a_friend}, who lived far away. / long ago {a_friend} had moved far away, and {hero} often thought of {him2}.
one evening {he} took paper and ink and began to write a letter. / "I will write a letter," said {hero}, and {he} sat down at the table.
{he} wrote about the weather, about {food} and about {hobby}. / "Dear friend," {he} wrote, "I have not forgotten you."
? {he} did not know how to end it, so {he} drew a small picture of {himself}.
? {he} had no stamp, so {he} gave the letter to the wind. / a bird took the letter and flew away with it.
days passed, and weeks, and no answer came. / {hero} waited and waited.
then, one [sunny|snowy] morning, someone knocked. It was not a letter. It was {the_friend}! / one morning there was a knock at the door, and outside stood {the_friend}.
"I got your letter," said {the_friend}, "and I wanted to bring the answer myself."
they talked until late at night, as if they had never been apart.

paint | painted a picture | {the_x} painted a picture of {his} home and saw how lovely it was | beauty is often right in front of us
{hero} wanted to paint the most beautiful thing in the world. / one day {hero} got a box of paints and wanted to paint something wonderful.
{he} asked {a_friend}, "What is the most beautiful thing in the world?" "{hobby_cap}," said {the_friend}. / {he} asked {a_friend} what to paint. "Paint a palace," said {the_friend}.
? {he} painted a palace, but it looked empty. {he} painted a crown, but it looked cold. / {he} started ten pictures and liked none of them.
? "Perhaps I am no painter," {he} thought, and {he} put the brushes away.
then one evening {he} looked out of {his} own window. The light was golden, and everything was still. / on the way home {he} saw {his} little house in the evening light.
{he} took the brush and painted what {he} saw: the path, the tree and the small red roof. / quickly {he} painted the door, the garden and the smoke above the roof.
everyone who saw the picture became quiet and smiled. / "This is it," said {the_friend}. "This is the most beautiful thing."
{hero} hung the picture on the wall, right beside the window.

broken | broke {a_obj} | {the_x} broke {a_obj} and mended it with {a_friend} | what is broken can often be mended
one day {hero} was running through the house and broke {a_obj}. / one day {hero} was not careful, and {the_obj} fell to the ground and broke.
it had been a gift from {his} grandmother. / everyone knew how much {he} loved it.
? {he} tried to put the pieces together, but they fell apart again. / "What have I done?" cried {hero}.
so {he} put the pieces in a bag and went to {a_friend}, who could repair almost anything. / then {a_friend} came by and looked at the pieces.
"We can mend this," said {the_friend}, "but you must help me." / "Bring glue, string and a little patience," said {the_friend}.
? they worked all afternoon, piece by piece. / they worked by the light of a candle until late at night.
in the end there was a thin golden line where the break had been. / when they were done, {the_obj} was whole again, with one small scar.
"Now it is even more beautiful," said {hero}. / "I like it better than before," said {hero}, "because now it has a story."

storm | lived through a storm | {the_x} saved {his} neighbours in a great storm | courage means helping even when you are afraid
one night a great storm came. The wind howled and the rain beat on the roofs. / one evening the sky turned black, and a great storm began.
{hero} was warm and safe at home. Then {he} heard a cry. / the others ran to their homes, but {hero} saw that someone was missing.
it was {a_friend}, who [could not find the way in the rain|was caught outside]. / {he} counted {his} neighbours. {a_friend} was not among them.
? {hero} was afraid, but {he} took {a_obj} and opened the door. / {his} heart beat fast, but {he} put on {his} coat and went out.
? {he} walked against the wind, step by step, and called out loud. / twice the wind pushed {him} over, and twice {he} got up again.
at last {he} found {the_friend} {spot}, cold and wet. / then {he} heard a weak voice, and {he} found {the_friend} {spot}.
"Hold on to me," said {hero}, and together they went back. / {hero} took {the_friend} by the hand and led {him2} home.
in the morning the sun shone, and everyone came to thank {hero}. / the storm passed, and they ate {food} by the fire.
"Were you not afraid?" they asked. "Of course I was," said {hero}, "but I went anyway."

job | wanted to be {a_job} | {the_x} wanted to be {a_job} and learned the work with patience | nobody is born a master
ever since {he} was little, {hero} had wanted to be {a_job}. / {hero} had a dream: {he} wanted to become {a_job}.
"That is hard work," said {a_friend}. "I am not afraid of work," said {hero}. / everyone shook their heads, but {hero} had made up {his} mind.
{he} went to an old {job} and asked to learn. / so {he} found a wise old {job} who agreed to teach {him}.
? on the first day {he} only swept the floor. On the second day {he} swept it again. / in the beginning, everything {he} did went wrong.
? but {he} watched closely, {he} asked many questions, and {he} practised every evening. / little by little, {he} learned what {his} teacher knew.
then, one day, the old {job} fell ill, and there was nobody else to do the work. / one busy day the old {job} said, "Today you will do it alone."
{hero} took a deep breath and did everything just as {he} had learned.
"Well done," said the old {job}. "Now you are a real {job}." / by the evening everyone agreed that {hero} was {a_job} now.
{hero} was so happy that {he} [danced|sang|ran] all the way home.

party | forgot a birthday | {the_x} forgot the birthday of {a_friend} and made up for it with a lantern walk | it is never too late to be kind
one morning {hero} woke up with the feeling that {he} had forgotten something. / all day long, {hero} felt that something was wrong.
only in the evening {he} remembered: it had been the birthday of {a_friend}!
? "How could I forget it?" {he} said, and {his} ears turned hot.
it was too late to bake a cake and too late to buy a gift. / the shops were closed, and {his} cupboard was empty.
so {he} took {a_obj}, tied a ribbon around it and ran through the dark. / {he} lit a lantern, took {food} from the table and hurried out.
{the_friend} was sitting alone in front of the house. "I thought nobody had remembered," said {the_friend}.
"I am sorry that I am late," said {hero}. "Come with me." / "The day is not over yet," said {hero}, and {he} held out {his} hand.
they walked through the quiet night, sang every song they knew and counted falling stars.
"That was the best birthday of all," said {the_friend}. / and {the_friend} said that it was the best birthday ever.

hat | had a magic hat | {the_x} used the last wish of a magic hat to make {a_friend} happy | the best wishes are the ones we make for others
one day {hero} found a dusty hat {spot}. / at the market {hero} bought an old hat for one coin.
when {he} put it on, a small voice said, "You have three wishes."
first {hero} wished for {food}, and at once {he} had so much of it that {he} could not move. / {his} first wish was a mountain of {food}, and soon {he} felt quite sick.
? then {he} wished for a bigger house, but it was so big that {he} could not find the door. / then {he} wished to be as tall as a tree, but {he} could not get into {his} bed.
so with the second wish {he} made everything as it had been before. / so {he} used the second wish to undo all of it.
only one wish was left. {hero} thought about it for a long time.
then {he} saw {a_friend}, who looked cold and sad. / just then {a_friend} walked by with a heavy heart.
"I wish that my friend may be happy," said {hero}. The hat sparkled and was only a hat again.
{the_friend} began to smile, and so did {hero}. / and the two of them laughed and shared {food} in the sun.

robot | built a robot | {the_x} built a robot that taught {him} to enjoy small things | small wonders are everywhere
{hero} did not like to clean the house, so {he} built a robot. / one rainy week, {hero} built a robot out of [pots and pans|old clocks|tin cans].
it had [two round lamps for eyes|a bucket for a head|springs for legs], and it said, "Beep. What shall I do?"
"Sweep the floor," said {hero}. But the robot only looked at the dust dancing in the light. "Beautiful," it said. / "Wash the plates," said {hero}. But the robot only watched the bubbles. "Beautiful," it said.
? "Bring in the wood," said {hero}. But the robot stopped at a spider web full of dew. "Beautiful," it said.
? "You are no help at all!" cried {hero}. The robot lowered its head.
{a_friend} heard the noise and laughed. "Perhaps it is trying to show you something," said {the_friend}.
so {hero} sat down beside the robot and looked, and for the first time {he} saw it too.
"You are right," {he} said. "It is beautiful." The robot beeped with joy.
after that they cleaned the house together, and they stopped whenever they saw something lovely.

bridge | met {a_friend} | {the_x} met {a_friend} on a narrow bridge, and they learned to give way | it is better to be kind than to be first
one day {hero} met {a_friend} in the middle of a narrow bridge. / one morning {hero} and {a_friend} came to the same narrow bridge from two sides.
"Let me pass first," said {hero}. "No, let me pass first," said {the_friend}.
they stood there for a long time, and neither of them moved. / both of them waited, and nobody took a step.
? the sun climbed higher, and their stomachs began to growl. / the fish in the river looked up and wondered.
? a cold rain began to fall, and soon both were wet.
"This is silly," said {hero} at last, and {he} stepped back. "Please, you go first." / then {hero} began to laugh. "I will go back," {he} said, "and you can pass."
{the_friend} was so surprised that {he2} stepped back as well. Now nobody was on the bridge at all.
they both laughed, shared {food} and crossed the bridge together, side by side.

sack | carried a heavy sack | {the_x} carried a heavy sack until {a_friend} took one end | two can carry what is too heavy for one
{hero} had to bring a heavy sack of {snack} to the market. / one hot day, {hero} carried a heavy sack of {snack} along the road.
after every ten steps {he} had to stop and rest. / the sack grew heavier with every step.
? "I need no help," {he} said to everyone who asked. / {he} was too proud to ask for help.
? at the bottom of the hill {he} could not go on, and {he} sat down in the grass.
just then {a_friend} came along the road. "That looks heavy," said {the_friend}. / {a_friend} sat down beside {him}. "We could share the weight," said {the_friend}.
{hero} wanted to say no, but then {he} nodded. "Please take one end," {he} said.
together the sack was not heavy at all, and they talked and sang on the way.
at the market {hero} gave half of the {snack} to {the_friend}, and they walked home with light steps. / when they reached the market, they did not want to say goodbye, so they walked home together too.

clause | {clause} | {the_x} {clause}, and {a_friend} liked {him} for it | it is good to be a little different
everyone {in_place} knew {hero}, because {he} {clause}. / {he} was a little different from the others: {he} {clause}. / there was one thing that everybody knew about {hero}: {he} {clause}.
some laughed about it, and some only shook their heads. / nobody knew why, and {hero} never talked about it.
? "Why can you not be like the rest of us?" asked the neighbours. {hero} did not know the answer. / {he} tried to be like the others for a whole day, but it made {him} sad.
? at night {he} sat by the window and felt alone.
then one day {a_friend} came [from far away|down the road|to visit]. "I have heard about you," said {the_friend}. "Tell me everything."
{hero} was surprised, but {he} sat down and told the whole story. / so {hero} told {him2} everything, from the beginning to the end.
{the_friend} listened and [smiled|nodded]. "You are not strange at all," said {the_friend}. "You are only yourself."
they shared {food} and laughed until the stars came out. / they talked until the candle burned down.
from that day on, {hero} was proud of who {he} was. / after that, {hero} did not mind when the others laughed, because {he} had a friend.
"""


def parse_plots():
    plots = []
    for block in PLOTS.strip().split("\n\n"):
        head, *stages = block.splitlines()
        name, ask, summary, moral = (f.strip() for f in head.split(" | "))
        stages = [(s.startswith("?"), [v.strip() for v in s.lstrip("? ").split(" / ")]) for s in stages]
        plots.append(dict(name=name, ask=ask, summary=summary, moral=moral, stages=stages))
    return plots
