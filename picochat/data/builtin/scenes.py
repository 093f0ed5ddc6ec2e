"""Sentences that make the valley a place: openings, small events, endings, by what a person does or keeps.

{n} is the name or pronoun at the start of a sentence, {m} the same inside one, {h} her/his, {e} she/he,
{o} her/him.
No sentence here tells which value a person has: that is left to telling.py. No digits, no OBJECTS.
"""

PLACES: dict[str, tuple[str, ...]] = {
    "Elmford": ("a quiet village where the river can be crossed on foot", "known for its tall old elms"),
    "Millbrook": ("a village of water wheels", "never silent, for the brook sings day and night"),
    "Ashby": ("a small place with one well and two bakers' ovens", "said to have the kindest dogs"),
    "Larkhill": ("high above the fields, close to the larks", "the first village to see the sun"),
    "Seagate": ("the harbour of the valley", "where the boats come in with the tide"),
    "Fernley": ("half hidden in the fern", "cool and green even in summer"),
    "Oakham": ("built around one enormous oak", "a village of swings and shade"),
    "Redcliff": ("on the red cliff over the sea", "where the wind never rests"),
    "Foxdale": ("at the end of the valley, where foxes play", "full of stories told by the fire"),
    "Saltmarsh": ("flat and wide and full of birds", "where even the rain tastes of salt"),
    "Stonebridge": ("proud of its old bridge", "where every road of the valley meets"),
    "Applewick": ("white with blossom in spring", "a village that smells of cider in autumn"),
}

OPENINGS = (
    "One misty morning {m} woke before the gulls.",
    "On a windy day in spring {m} went down to the harbour.",
    "It had rained all night, and {m} was glad of the sun.",
    "Late one evening there was a knock at the window, and {m} looked up.",
    "The first snow had fallen, and {m} put on {h} warmest coat.",
    "It was market day, and {m} had been up since dawn.",
    "On the longest day of the year {m} could not sleep.",
    "The larks were already singing when {m} came over the hill.",
    "{n} had lost a key and looked for it everywhere.",
    "{n} sat on the old wall and watched the boats.",
    "{n} was whistling, and that always meant good news.",
    "{n} had promised to help at the summer feast.",
    "Nobody in the valley laughs as loudly as {m}.",
    "If you ever come to the valley, you should meet {m}.",
)

AT_WORK: dict[str, tuple[str, ...]] = {
    "baker": (
        "The first loaves came out of the oven golden and warm.",
        "There was flour on {h} nose until noon.",
    ),
    "fisher": ("The nets were heavy with herring that day.", "{n} mended the nets and hummed an old song."),
    "carpenter": (
        "{n} planed a long board until it was smooth as silk.",
        "A new table stood finished by noon.",
    ),
    "miller": (
        "The great wheel turned and the flour fell like snow.",
        "Carts full of grain stood at the mill.",
    ),
    "weaver": ("The loom clacked all day long.", "A blanket with a border of swallows grew under {h} hands."),
    "potter": (
        "The clay turned and rose into a round pot.",
        "A jug cracked in the kiln, and {n} only laughed.",
    ),
    "teacher": (
        "The children had learned a poem about the sea.",
        "{n} drew a map of the valley on the board.",
    ),
    "painter": (
        "{n} mixed the colour of the evening sky.",
        "A picture of the harbour was drying in the sun.",
    ),
    "gardener": (
        "The beans had climbed up to the window.",
        "{n} carried water to the roses before the heat came.",
    ),
    "sailor": (
        "The ship was to leave with the evening tide.",
        "{n} climbed the mast to look for the weather.",
    ),
    "tailor": ("A coat for the mayor was nearly done.", "{n} bit off the thread and held up the sleeve."),
    "farmer": ("The hay had to be brought in before the storm.", "{n} counted the sheep and began again."),
}

WITH_PET: dict[str, tuple[str, ...]] = {
    "cat": ("The cat slept on the warm stove.", "The cat watched the rain as if it were hers."),
    "dog": (
        "The dog barked at the waves and the waves did not mind.",
        "The dog carried home a stick as long as a door.",
    ),
    "goat": ("The goat ate half of a straw hat.", "The goat stood on the roof and would not come down."),
    "parrot": ("The parrot said good night at noon.", "The parrot knew all the songs of the harbour."),
    "rabbit": ("The rabbit thumped twice and was gone.", "The rabbit slept in an old slipper."),
    "duck": ("The duck walked in as if it paid the rent.", "The duck was the first to find every puddle."),
    "pony": (
        "The pony knew the way home by itself.",
        "The pony would not cross the bridge without a kind word.",
    ),
    "hen": ("The hen had taken the best chair.", "The hen followed the postman to the gate."),
    "mouse": ("The mouse came out for a crumb.", "The mouse lived in a teapot without a lid."),
    "crow": ("The crow brought a bit of glass as a present.", "The crow could open any window."),
    "turtle": ("The turtle reached the gate by evening.", "The turtle stretched its neck toward the sun."),
    "donkey": (
        "The donkey thought about it and stayed where it was.",
        "The donkey sang at dawn, and all the village woke.",
    ),
}

AT_TABLE = (
    "The whole kitchen smelled of it.",
    "There was a second helping for everyone.",
    "A neighbour came by, and the table grew longer.",
    "Nobody spoke until the bowls were empty.",
)
AT_HOME = (
    "The road there winds along the river.",
    "From the window you can see the whole valley.",
    "The neighbours wave from garden to garden.",
    "In the evening the lights go on one by one.",
)
AT_DOOR = (
    "You can see it from far down the road.",
    "The paint still shines in the sun.",
    "A bunch of dried flowers hangs on it.",
    "It squeaks a little when the wind turns.",
)

ENDINGS = (
    "And that was a good day.",
    "Then the stars came out over the valley.",
    "{n} still laughs about it.",
    "In the end everyone went home happy.",
    "At night the sea was calm, and {m} slept well.",
    "That is how things are in the valley.",
    "The next morning the sun was back.",
    "And if it has not rained since, the road is still dry.",
    "So ends the story.",
)

# Paragraphs about the valley itself: one sentence of each row, in this order.
VALLEY: tuple[tuple[str, ...], ...] = (
    (
        "The valley lies between the hills and the sea.",
        "There is a valley where the river is in no hurry.",
        "Old people say the valley was made on a Sunday.",
        "Twelve villages share one valley, one river and one market.",
        "Every season comes to the valley twice, they say: once in the hills and once by the sea.",
    ),
    (
        "In spring the lambs run along the walls and the brooks are loud.",
        "In summer the boats stay out until the sky turns pink.",
        "In autumn the carts roll by, full to the brim.",
        "In winter the harbour freezes at the edges and the gulls walk.",
        "When the fog comes in, the bell at the harbour rings from dawn to dusk.",
        "After a storm the children search the beach for treasure.",
    ),
    (
        "On Saturday everyone goes to the market at the bridge.",
        "The ferry crosses when somebody calls for it.",
        "The baker's window is the first to be lit.",
        "The mill turns slowly and never stops.",
        "At the inn there is always one chair left free for a traveller.",
        "The lighthouse keeper waves to every ship, and every ship waves back.",
        "The postman walks, because his bicycle is afraid of geese.",
    ),
    (
        "A heron stands in the shallow water and thinks.",
        "Swallows build their nests under the bridge.",
        "An old seal sleeps on the rocks and is nobody's seal.",
        "Two geese guard the road and let nobody pass without bread.",
        "At night the owls talk from barn to barn.",
        "Bees hum in the clover behind the church.",
    ),
    (
        "Nobody locks a door there, and nothing was ever stolen but a kiss.",
        "Who comes for a day often stays for a year.",
        "If you are lost, follow the river: it knows the way.",
        "In the evening smoke rises from every chimney.",
        "Then the lights are lit, one after the other, down to the sea.",
        "And everyone knows everyone by name.",
    ),
)

GREETERS = (
    "I hope you are well. The weather here is fine.",
    "Thank you for your letter. It came with the morning boat.",
    "The river is high, but the bridge is dry.",
    "We have had nothing but wind since Sunday.",
    "The cherry trees are in bloom, and I thought of you.",
    "You asked me for news, so here it is.",
)
PARTINGS = (
    "Come and see us soon.",
    "Write to me when you can.",
    "The kettle is always on.",
    "Give my love to everyone.",
    "Bring your boots: the road is muddy.",
    "Until the next boat.",
)
