"""Instructions and advice."""

from .tables import table

# task | steps ...
HOW_TO = table("""
make tea|Boil some fresh water.|Put a tea bag in a cup.|Pour the hot water over it.|Wait for three minutes.|Take out the bag and add milk or honey if you like.
make coffee|Boil some fresh water.|Put ground coffee in a filter.|Pour the hot water over it slowly.|Wait until the cup is full.|Add milk or sugar if you like.
make hot chocolate|Warm some milk in a pot.|Stir in cocoa and a little sugar.|Wait until it steams.|Pour it into a cup.
make lemonade|Squeeze two lemons.|Stir the juice into cold water.|Add sugar until it tastes good.|Serve it with ice.
make a salad|Wash the leaves and the vegetables.|Cut everything into small pieces.|Mix oil, lemon juice and salt.|Pour it over the salad and stir.
bake a cake|Mix butter and sugar in a bowl.|Stir in eggs, flour and a little milk.|Pour the dough into a tin.|Bake it until it is golden.|Let it cool before you cut it.
make a sandwich|Take two slices of bread.|Spread butter on them.|Add cheese, tomato or whatever you like.|Close the sandwich and cut it in half.
make pancakes|Mix flour, milk and eggs in a bowl.|Heat a little butter in a pan.|Pour in a thin layer of batter.|Turn the pancake when the edges are brown.|Serve it with jam or honey.
make vegetable soup|Wash and cut the vegetables.|Cook an onion in a little oil.|Add the vegetables and cover them with water.|Cook everything for twenty minutes.|Add salt and taste it.
boil an egg|Put the egg in a pot of water.|Bring the water to the boil.|Wait for eight minutes.|Cool the egg in cold water and peel it.
bake bread|Mix flour, water, salt and yeast.|Knead the dough for ten minutes.|Let it rest for an hour.|Shape a loaf.|Bake it until it is golden brown.
cook rice|Wash the rice in cold water.|Add two cups of water for each cup of rice.|Bring it to the boil and cover the pot.|Cook it gently until the water is gone.
plant a tree|Dig a hole that is wide enough for the roots.|Put the young tree in the hole.|Fill the hole with earth.|Press the earth down gently.|Water the tree well.
grow tomatoes|Put the seeds in a pot with good earth.|Keep the pot warm and light.|Water it a little every day.|Move the plants outside when they are strong.|Pick the tomatoes when they are red.
water plants|Touch the earth to see if it is dry.|Pour water slowly around the roots.|Stop when the earth is damp.|Check again in a few days.
build a snowman|Roll a big ball of snow.|Roll a smaller one and put it on top.|Add a third ball for the head.|Use stones for the eyes and a carrot for the nose.
build a fire|Choose a safe place away from trees.|Lay dry leaves and thin twigs in the middle.|Put small sticks around them like a tent.|Light the leaves and add bigger wood slowly.|Put the fire out with water before you leave.
make a paper boat|Fold a sheet of paper in half.|Fold the two top corners to the middle.|Fold up the lower edges.|Open the middle and press it flat.|Pull the sides apart gently.
fly a kite|Find an open place with a steady wind.|Hold the kite up with your back to the wind.|Let it rise and give it more string.|Pull gently to keep it up.
tie a shoe|Cross the two laces and pull them tight.|Make a loop with one lace.|Wrap the other lace around it.|Push it through and pull both loops.
wash your hands|Wet your hands with warm water.|Use some soap.|Rub your hands for twenty seconds.|Rinse them and dry them well.
brush your teeth|Put a little toothpaste on your brush.|Brush all sides of your teeth for two minutes.|Rinse your mouth with water.|Clean the brush.
clean a room|Put everything back in its place.|Dust the shelves.|Sweep the floor.|Open the window and let in fresh air.
write a letter|Begin with a friendly greeting.|Say why you are writing.|Tell your news in a few short paragraphs.|End with kind wishes and your name.
write a story|Choose a hero and a place.|Give the hero a wish or a problem.|Think of two or three things that go wrong.|Find a good ending.|Read it aloud and correct it.
write a poem|Choose something you care about.|Write down what you see, hear and feel.|Put the best words into short lines.|Read it aloud and listen to the rhythm.
learn a new language|Start with simple words and greetings.|Practise a little every day.|Listen to songs and stories.|Speak with other people and do not fear mistakes.
learn to swim|Start in shallow water with someone you trust.|Practise breathing out under water.|Learn to float on your back.|Move your arms and legs slowly.|Practise often.
ride a bicycle|Put on a helmet.|Sit on the seat and hold the handles.|Push one pedal down and start slowly.|Look ahead and keep your balance.
fall asleep|Turn off bright lights and screens.|Lie down and get comfortable.|Breathe slowly.|Think of a quiet place and let your thoughts go.
calm down|Stop what you are doing for a moment.|Breathe in slowly and count to four.|Breathe out slowly and count to four.|Drink some water.|Think about one small thing you can do next.
make a friend|Smile and say hello.|Ask a friendly question.|Listen to the answer.|Share something about yourself.|Meet again and be kind.
study for a test|Make a list of what you need to know.|Study in short blocks of time.|Take small breaks.|Explain the topic in your own words.|Sleep well before the test.
save money|Write down what you spend.|Decide what you really need.|Put a little money aside each week.|Wait a day before you buy something big.
pack a suitcase|Make a short list of what you need.|Put heavy things at the bottom.|Roll your clothes to save space.|Keep important papers on top.
feed a cat|Put fresh food in a clean bowl.|Give the cat fresh water.|Let the cat eat in peace.|Wash the bowl afterwards.
take care of a dog|Give the dog food and fresh water.|Take it for a walk every day.|Brush its fur.|Play with it and be patient.
find north|Look for the place where the sun rises, which is the east.|Turn so that the east is on your right.|Now you are facing north.
use this server|Send a list of messages to the chat address.|Wait for the answer.|Read the text in the reply.|Send the whole conversation again with your next question.
""")

# statement | replies (one is chosen)
ADVICE = table("""
I feel sad.|I am sorry that you feel sad. A short walk or a talk with a friend may help. You do not have to be cheerful all the time.|I am sorry to hear that. Be kind to yourself today. Perhaps some music or a warm drink will help a little.
I am tired.|Then it is a good time to rest. Drink some water, close your eyes for a while and go to bed early tonight.|You have earned a break. Sit down, breathe slowly and do nothing for ten minutes.
I am bored.|You could read a book, draw a picture, call a friend or go for a walk. I can also tell you a story, if you like.|How about making something? You could bake a cake, write a short poem or build a paper boat.
I cannot sleep.|Try to breathe slowly and think of a quiet place. Turn off bright lights and screens. Sleep often comes when you stop waiting for it.|Lie still, listen to your breath and count slowly to one hundred. A warm drink may help too.
I am nervous about tomorrow.|It is normal to feel nervous. Prepare what you can tonight and then rest. Tomorrow you only have to take one step at a time.|Write down what worries you and one small thing you can do about it. Then try to sleep well.
I am angry.|Take a deep breath before you say or do anything. When you feel calmer, explain what made you angry in simple words.|It is fine to be angry. Move a little, drink some water and wait until the storm has passed.
My dog died.|I am very sorry about your dog. It was a good friend, and it is natural to be sad. Take time to remember the happy days.|I am so sorry. Losing a dog is very hard. Talk to someone who knew it, and be gentle with yourself.
My cat died.|I am very sorry about your cat. Be sad as long as you need to, and keep the happy memories.|I am so sorry. It is hard to lose a friend like that. Be gentle with yourself.
My grandmother died.|I am very sorry for your loss. Talk to people who loved her too, and give yourself time.|I am so sorry. Keep her stories alive, and let others help you.
I am worried.|Try to name what worries you and write it down. Then choose one small step that you can take today.|Take a slow breath. Many worries look smaller after a walk and a talk with a friend.
I am stressed.|Take a short break and breathe slowly. Then do one thing at a time, and leave the rest for tomorrow.|Put the work aside for a moment, drink some water and look out of the window.
I am sick.|I am sorry to hear that. Rest, drink plenty of water and ask a doctor if you do not feel better soon.|Get well soon! Stay in bed, keep warm and let others take care of you.
I failed my exam.|I am sorry to hear that. One exam does not decide who you are. Rest first, and then look at what you can do better.|That is hard. Ask what went wrong, make a small plan and try again.
I feel lonely.|I am sorry that you feel lonely. Maybe you could write to an old friend or visit a place where people meet.|That is a hard feeling. A small talk with a neighbour or a friend can make the day warmer.
I am happy.|That is wonderful! Enjoy it and share your good mood with someone.|I am glad to hear that! What a lovely day to be happy.
I have a cold.|I hope you get well soon. Stay warm, drink plenty of tea and rest as much as you can.|That is no fun. Rest, drink warm water with honey and ask a doctor if it gets worse.
I have a headache.|I am sorry. Drink some water, rest your eyes and take a break from screens. Ask a doctor if it does not go away.|Perhaps you need some rest and fresh air. If the pain is strong, please ask a doctor.
I have a test tomorrow.|Good luck! Read your notes once more, pack your bag and go to bed early.|You can do it. Look at the most important points and then let your mind rest.
I lost my job.|I am very sorry to hear that. Give yourself a little time, and then make a plan with small steps. Talk to people who care about you.|That is hard news. You are more than your job. Rest first, and then look for new doors to open.
I had a bad day.|I am sorry that your day was bad. Tomorrow is a new page. Do something small tonight that makes you feel good.|Some days are heavy. Have something warm to eat, rest, and let this day end.
I had a good day.|I am glad! What was the best part of it?|That is lovely to hear. Good days are worth remembering.
I am hungry.|You could make a sandwich, some soup or a bowl of porridge. An apple is a quick and healthy choice.|Then it is time to eat! How about bread with cheese and a little fruit?
I am cold.|Put on a warm jumper, close the window and have a hot drink.|A blanket and a cup of tea should help.
I am hot.|Drink some cool water and find a place in the shade.|Open a window, rest a little and drink enough water.
I am scared of the dark.|Many people are. A small lamp can help, and so can a quiet song. The dark is only the day asleep.|You are not alone with that. Leave a little light on and remember that your room is the same by night as by day.
I want to learn something new.|That is a great idea! You could learn a song, a few words of another language or how to bake bread.|Wonderful! Choose something small, practise a little every day and be patient.
My friend is angry with me.|Talk to your friend calmly. Listen first, and say sorry if you made a mistake.|Give your friend a little time. Then ask what is wrong and listen well.
I miss my family.|That is very natural. You could call them or write them a letter today.|Missing them shows how much you love them. Look at a picture and tell them you are thinking of them.
I made a mistake.|Everyone makes mistakes. Say so honestly, put it right if you can and learn from it.|That happens to all of us. Be honest about it and try again.
It is my birthday.|Happy birthday! I hope you have a wonderful day with cake and good company.|Happy birthday to you! May your new year be bright and kind.
I got a new puppy.|Congratulations! Give it water, food, a warm bed and plenty of patience.|How lovely! Puppies need sleep, play and gentle rules.
I am going on holiday.|Have a wonderful time! Pack light, take a good book and enjoy the rest.|How nice! I hope the sun shines and the food is good.
""")
