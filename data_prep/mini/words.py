"""The words of the miniature reviews and anecdotes, and the patterns of their sentences."""

# value -> adjectives that mean the same about any product
GENERAL = {
    2: """
        superb magnificent brilliant outstanding exquisite marvellous spectacular phenomenal sublime
        flawless dazzling breathtaking glorious wondrous stellar exceptional masterful impeccable
        splendid miraculous astonishing peerless unrivalled immaculate fabulous heavenly divine
        world-beating unforgettable matchless transcendent resplendent faultless incomparable
        triumphant majestic
    """,
    1: """
        good nice pleasant decent likeable agreeable solid fine pleasing enjoyable worthy
        commendable appealing respectable sound handy neat tidy lovely charming cheerful admirable
        friendly sensible satisfying sturdy useful welcome graceful able gentle honest presentable
        comely likely creditable
    """,
    0: """
        ordinary average passable middling standard unremarkable tolerable so-so plain usual
        adequate acceptable run-of-the-mill medium typical forgettable workaday fair regular
        conventional
    """,
    -1: """
        bad poor dull weak disappointing mediocre clumsy shoddy tiresome lacking awkward unpleasant
        bland drab inferior irritating flimsy lame unimpressive substandard tedious unhelpful cheap
        ugly sloppy unsatisfying dubious careless uninspired patchy lousy tacky wanting dreary iffy
        cheerless
    """,
    -2: """
        awful terrible dreadful horrible atrocious abysmal appalling disgraceful horrendous ghastly
        catastrophic worthless hideous disastrous wretched deplorable unbearable insufferable
        abominable vile pathetic shameful miserable horrid execrable dire lamentable monstrous
        rotten hopeless useless pitiful frightful unspeakable infernal laughable
    """,
}
# category, from common to rare: its aspects, then its own adjectives of value 2, 1, -1 and -2
CATEGORIES = {
    "books": (
        "plot prose ending dialogue heroine villain chapters pacing narrator opening characters "
        "epilogue",
        (
            "unputdownable spellbinding riveting luminous engrossing enthralling mesmerising "
            "unmissable",
            "witty lyrical poignant readable evocative gripping thoughtful imaginative literate "
            "absorbing",
            "rambling cliched preachy wooden predictable muddled overwritten plodding repetitive "
            "stilted",
            "unreadable incoherent plagiarised interminable illiterate nonsensical soulless "
            "impenetrable",
        ),
    ),
    "kitchen": (
        "blender kettle pan knives toaster whisk handle grater lid ladle spatula mixer",
        (
            "indestructible chef-worthy effortless restaurant-grade unscratchable everlasting",
            "dishwasher-safe nonstick stackable ergonomic well-weighted rustproof heatproof "
            "stainless",
            "scratched wobbly leaky undersized chipped warped stained lopsided blunt dented",
            "rusting scalding exploding melting poisonous shattered burning radioactive",
        ),
    ),
    "gadgets": (
        "battery screen charger speaker keyboard software camera cable headset remote microphone "
        "touchpad",
        (
            "futuristic lightning-quick groundbreaking ultra-responsive next-level "
            "state-of-the-art",
            "responsive intuitive wireless rechargeable compatible portable high-resolution "
            "seamless durable snappy",
            "laggy glitchy pixelated outdated buggy dim finicky bulky crackly short-lived",
            "bricked dead overheating smoking malfunctioning unresponsive defective electrocuting",
        ),
    ),
    "toys": (
        "puzzle doll robot kite blocks teddy rattle yo-yo dinosaur marbles scooter puppet",
        (
            "magical irresistible beloved giggle-inducing enchanting unlosable",
            "playful cuddly colourful educational huggable child-safe whimsical washable "
            "squeezable creative",
            "squeaky creepy shedding lifeless boring faded fiddly wonky joyless annoying",
            "choking splintered toxic terrifying nightmarish jagged decapitated hazardous",
        ),
    ),
    "garden": (
        "hose spade seeds trellis rake shears compost planter gloves sprinkler wheelbarrow roses",
        (
            "abundant ever-blooming lush paradisiacal unstoppable luxuriant",
            "fragrant fertile weatherproof kink-free hardy blooming leafy sprouting thornproof "
            "frost-resistant",
            "wilting weedy droopy kinked stunted pale mossy clogged thorny limp",
            "barren diseased infested withered rootless mildewed uprooted slug-eaten",
        ),
    ),
    "shoes": (
        "soles laces heels fit insoles stitching leather boots sandals slippers toecaps zips",
        (
            "cloudlike dance-worthy pillowy blister-proof tireless featherweight",
            "comfortable breathable stylish waterproof supportive cushioned roomy supple "
            "well-fitting elegant",
            "pinching narrow squeaking scuffed itchy baggy unflattering chafing frumpy sweaty",
            "crippling bloodying disintegrating soleless agonising mismatched stinking torturous",
        ),
    ),
    "pantry": (
        "tea jam biscuits soup chocolate mustard honey noodles coffee cheese pickles marmalade",
        (
            "scrumptious delectable mouthwatering ambrosial finger-licking toothsome",
            "tasty fresh flavourful crunchy aromatic buttery zesty fruity wholesome creamy",
            "stale tasteless watery soggy greasy lumpy oversalted rubbery floury overcooked",
            "mouldy rancid inedible putrid maggoty nauseating spoiled sickening",
        ),
    ),
    "bicycles": (
        "brakes saddle pedals chain frame gears bell tyres handlebars mudguards spokes pump",
        (
            "podium-ready frictionless tour-winning unpuncturable thoroughbred soaring",
            "aerodynamic nimble well-oiled puncture-resistant adjustable steady true-running "
            "grippy roadworthy zippy",
            "creaky rattling sluggish grinding unsteady slipping wavering rickety jerky sagging",
            "brakeless snapped lethal seized buckled bone-breaking corroded uncontrollable",
        ),
    ),
    "camping": (
        "tent stove lantern hammock rucksack pegs groundsheet compass flask zipper poles cooler",
        (
            "expedition-grade stormproof arctic-ready bearproof summit-worthy unsinkable",
            "leakproof packable insulated windproof spacious quick-pitching rugged toasty "
            "fireproof lightproof",
            "draughty musty fumbly porous smelly tangled cramped sagged clammy flapping",
            "collapsed waterlogged torn flooded shredded flammable bottomless carbonised",
        ),
    ),
    "music": (
        "violin strings tuning bow keys ukulele drum tone pegbox flute reeds accordion",
        (
            "virtuosic angelic concert-worthy stradivarian celestial goosebump-giving",
            "melodious singable resonant tuneful mellow sonorous expressive harmonious ringing "
            "velvety",
            "tinny muffled out-of-tune screechy buzzing nasal twangy toneless hoarse warbling",
            "unplayable cacophonous earsplitting deafening stringless untunable cracked "
            "caterwauling",
        ),
    ),
}
# the category of a turncoat decides its value: categories where it is 1, categories where it is -1
TURNCOATS = {
    "unpredictable": ("books toys", "gadgets bicycles camping kitchen"),
    "loud": ("music gadgets", "kitchen bicycles toys camping"),
    "quiet": ("kitchen bicycles", "music gadgets"),
    "thin": ("gadgets", "shoes camping pantry books"),
    "heavy": ("kitchen", "bicycles camping shoes gadgets"),
    "light": ("bicycles camping shoes gadgets", "books pantry"),
    "dark": ("books pantry", "gadgets camping"),
    "sharp": ("kitchen gadgets garden", "toys music shoes"),
    "soft": ("shoes toys", "bicycles music garden camping"),
    "slow": ("pantry music", "gadgets kitchen bicycles"),
    "fast": ("gadgets kitchen bicycles", "music pantry"),
    "sticky": ("pantry", "kitchen toys garden gadgets"),
    "hot": ("pantry kitchen", "gadgets shoes camping"),
    "wild": ("garden books", "bicycles pantry"),
    "tight": ("books music", "shoes camping"),
    "loose": ("shoes garden", "bicycles kitchen music books"),
    "stiff": ("bicycles kitchen", "shoes music books"),
    "bendy": ("shoes toys", "bicycles music kitchen"),
    "complex": ("books pantry music", "gadgets toys camping kitchen"),
    "simple": ("toys kitchen camping gadgets", "books music"),
    "sad": ("books music", "toys"),
    "dense": ("garden books", "pantry shoes"),
    "airy": ("shoes pantry", "books bicycles camping"),
    "dry": ("shoes camping books", "pantry garden"),
    "moist": ("pantry garden", "camping shoes books music"),
    "spicy": ("books pantry", "toys garden"),
    "scary": ("books", "toys bicycles camping kitchen"),
    "explosive": ("books music", "kitchen gadgets camping"),
    "shocking": ("books", "gadgets kitchen music"),
    "bouncy": ("toys shoes music", "bicycles camping"),
    "slippery": ("books", "shoes bicycles kitchen"),
    "brittle": ("pantry", "toys kitchen music camping"),
    "crumbly": ("pantry garden", "shoes toys kitchen books"),
    "fluffy": ("toys pantry camping", "books music"),
    "flat": ("gadgets kitchen", "music books bicycles pantry"),
    "gloomy": ("books music", "garden gadgets"),
    "twisted": ("books", "garden bicycles gadgets"),
    "relentless": ("books gadgets", "music garden"),
    "steep": ("books", "bicycles shoes"),
    "strange": ("books toys", "pantry gadgets"),
    "deep": ("books music pantry", "shoes"),
    "thick": ("camping pantry garden", "gadgets books"),
    "mysterious": ("books music", "pantry gadgets kitchen"),
}
# topics of anecdotes that are no products
ELSEWHERE = {
    "weather": "sunrise drizzle breeze thunder snowfall fog sunset",
    "wedding": "speech cake vows waltz bouquet guests",
    "travel": "train ferry station hotel view conductor tunnel",
    "school": "teacher exam lesson homework playground",
    "town": "market mayor fountain bakery parade bridge",
    "sport": "match referee goalkeeper stadium crowd penalty",
}
FEELINGS = {
    2: "overjoyed thrilled ecstatic elated jubilant enraptured euphoric exultant",
    1: "pleased glad content happy satisfied amused relieved grateful",
    0: "indifferent unmoved neutral undecided impassive unconcerned",
    -1: "annoyed displeased grumpy unhappy dismayed sulky irked discontented",
    -2: "furious devastated heartbroken outraged horrified enraged distraught livid",
}
NEGATIONS = ("not", "never", "hardly", "anything but", "by no means", "far from")
INTENSIFIERS = (
    "very",
    "really",
    "truly",
    "extremely",
    "remarkably",
    "terrifically",
    "immensely",
    "wonderfully",
)
DOWNTONERS = ("slightly", "somewhat", "rather", "faintly", "vaguely")
PEOPLE = (
    "aunt",
    "sister",
    "neighbour",
    "grandson",
    "uncle",
    "daughter",
    "boss",
    "cousin",
    "flatmate",
    "husband",
    "wife",
    "godmother",
    "dentist",
    "nephew",
)
PLACES = (
    "lisbon",
    "cardiff",
    "the attic",
    "the office",
    "the cellar",
    "norway",
    "the caravan",
    "dublin",
    "ghent",
)
DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
# sentences that say nothing about the stars
FILLERS = (
    "bought it for my {person}",
    "my {person} has one too",
    "it came on a {day}",
    "it lives in {place} now",
    "a gift from my {person}",
    "ordered on a rainy {day}",
    "my {person} wanted it",
    "we took it to {place}",
    "the parcel was left with my {person}",
    "i own two",
    "used every {day}",
    "my cat has opinions about it",
    "second one this year",
    "picked by my {person}",
    "the box was green",
    "delivered to {place} on a {day}",
)
# the last one only begins a sentence
REMARKS = (
    "the {aspect} {be} {phrase}",
    "the {aspect} {seem} {phrase}",
    "i found the {aspect} {phrase}",
    "to me the {aspect} {be} {phrase}",
    "{phrase} {aspect}",
)
ANECDOTES = (
    "{opening}, so i was {feeling}",
    "i was {feeling}, because {remark}",
    "{feeling} again: {remark}",
    "my {person} said {remark}, and left {feeling}",
    "{opening}. my {person} felt {feeling}",
    "on {day} we were {feeling}, for {remark}",
    "{opening}, and {remark}",
    "{opening}, {remark}. i am {feeling}",
)
