"""Names, heroes and what can be said about them."""

from .tables import words

SHE = words("""Anna, Mira, Lily, Rosa, Clara, Ella, Nora, Ivy, Maya, Lucy, Emma, Sara, Tilda, Wren, Hazel, Ruby, Olive,
Flora, Greta, Hanna, Iris, June, Kate, Lena, Mabel, Nina, Opal, Pia, Queenie, Rita, Sofia, Tess, Uma, Vera, Willa,
Zoe, Alma, Bella, Cora, Daisy, Edith, Fern, Grace, Heidi, Inga, Jenny, Kira, Lotta, Martha, Nell""")

HE = words("""Tom, Ben, Oscar, Leo, Max, Finn, Hugo, Sam, Otto, Jack, Noah, Paul, Arlo, Basil, Conrad, Dan, Emil, Felix,
George, Henry, Ivan, Jonas, Karl, Luke, Milo, Ned, Owen, Peter, Quinn, Ralph, Simon, Theo, Umar, Victor, Will,
Zack, Adam, Bruno, Caleb, David, Ezra, Frank, Gus, Harold, Ian, Jasper, Kevin, Lars, Martin, Nils""")

PEOPLE = words("""baker, sailor, gardener, farmer, painter, teacher, shepherd, fisher, carpenter, tailor, clockmaker,
letter carrier, librarian, miller, potter, musician, doctor, pilot, astronaut, king, queen, prince, princess, knight,
wizard, pirate, boy, girl, grandmother, grandfather, cook, singer, dancer, robot, dragon, ghost, unicorn, elf, giant,
snowman, scarecrow, mermaid, explorer, inventor, child, nurse, writer, poet, builder, captain, student, detective,
lighthouse keeper, blacksmith, shoemaker, bus driver, witch, puppet, monster, troll, fairy""")

JOBS = words("""baker, sailor, gardener, painter, teacher, shepherd, carpenter, tailor, librarian, potter, musician,
doctor, pilot, astronaut, knight, wizard, pirate, cook, singer, dancer, explorer, inventor, nurse, writer, poet,
builder, captain, detective, firefighter, clown, runner, scientist, engineer, photographer, actor""")

TRAITS = words("""kind, curious, brave, shy, clever, quiet, cheerful, lazy, proud, gentle, careful, lonely, hungry, sleepy,
patient, busy, funny, honest, stubborn, young, old, small, tiny, big, grumpy, happy, sad, wise, silly, friendly,
nervous, polite, greedy, calm, bold""")

GOOD_TRAITS = words("kind, curious, clever, gentle, patient, honest, polite, friendly, hopeful, cheerful")

HOBBIES = words("""singing, reading, long walks, warm soup, counting stars, collecting shells, telling jokes, sleeping late,
baking bread, picking berries, playing the drum, watching clouds, growing roses, swimming, dancing, old maps,
painting, climbing trees, listening to the rain, riddles, fishing, writing letters, jumping over puddles, honey cakes""")
