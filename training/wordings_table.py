"""What people call the looks, `{}` where a colour goes; the second string is held out."""

from collections.abc import Mapping

PHRASES: Mapping[str, tuple[str, str]] = {
    "plain": (
        "photo|photograph|webcam|webcam picture|natural|realistic photo|original|as it is|no filter"
        "|no effects|unchanged|camera picture|plain picture|raw photo|real life|normal|true colours"
        "|without any style|the camera|realistic",
        "straight from the camera|untouched|ordinary photo|no style|photorealistic",
    ),
    "pencil": (
        "{}pencil sketch|{}pencil drawing|drawn with a {}pencil|sketched with {}graphite"
        "|graphite drawing|{}sketch|hand drawn {}sketch|{}charcoal|charcoal drawing|rough {}sketch"
        "|drawing in {}pencil|{}crayon drawing|sketchbook page|hatched drawing|{}pencil hatching"
        "|{}pencil|a drawing|{}coloured pencil|scribbled|pencil art",
        "{}pencil study|sketched by hand|graphite on paper|artist's sketch|{}lead pencil",
    ),
    "ink": (
        "{}ink drawing|pen and ink|{}line art|manga|{}ink|black and white ink|inked|woodcut"
        "|{}pen drawing|drawn with a {}pen|linocut|{}ink lines|brush and ink|manga page|stencil"
        "|{}ballpoint drawing|graphic novel in ink|{}lineart|bold {}ink strokes|{}etching",
        "{}fountain pen|drawn in {}ink|sumi-e|inkwork|{}marker drawing",
    ),
    "neon": (
        "{}neon edges|{}neon|glowing {}lines|{}neon outlines|{}neon lines|{}neon sign|{}neon light"
        "|glowing {}edges|{}light tubes|{}glowing contours|{}neon tubes|outlined in {}neon|{}tron"
        "|luminous {}outlines|{}laser lines|{}neon contours|{}edges that glow|{}electric outlines"
        "|{}fluorescent lines|neon {}glow",
        "{}neon contour lines|shining {}outlines|{}neon wireframe|lines of {}light|{}glow lines",
    ),
    "emboss": (
        "{}emboss|embossed|stone carving|{}relief|marble relief|{}bas-relief|carved in stone|statue"
        "|{}stone|embossed {}metal|{}plaster|clay|carving|{}sculpture|{}coin|engraved in {}metal"
        "|chiselled|{}medal|pressed into {}clay|{}relief carving",
        "sculpted|hewn from stone|{}embossing|raised relief|{}plaster cast",
    ),
    "cartoon": (
        "cartoon|cartoon style|anime|toon|cel shaded|animated film|flat colours with outlines"
        "|cartoon character|animation|disney|drawn as a cartoon|children's cartoon|toon shading"
        "|anime style|cartoony|tv cartoon|saturday morning cartoon|vector art|caricature",
        "like in a cartoon|cel shading|animated series|anime girl|toonified",
    ),
    "comic": (
        "comic|comic book|comic style|comic strip|superhero comic|graphic novel|comic panel"
        "|marvel comic|printed comic|american comic|comic book style|comics|comic page"
        "|comic with dots|vintage comic|comic art|bold comic lines|lichtenstein|roy lichtenstein"
        "|ben-day dots",
        "page of a comic book|newspaper comic|comic hero|silver age comic|comic drawing",
    ),
    "oil": (
        "oil painting|oil on canvas|painting|van gogh|impressionist painting|brush strokes"
        "|acrylic painting|thick paint|rembrandt|painted in oil|impasto|old master painting|oil"
        "|painted portrait|monet|painterly|expressionist painting|palette knife|classical painting"
        "|baroque painting",
        "oils on canvas|painted by hand|renaissance painting|oil paint|in the style of a painter",
    ),
    "watercolour": (
        "watercolour|watercolor|watercolour painting|watercolor painting|aquarelle|gouache"
        "|watercolor wash|watercolour wash|pastel painting|painted with water colours|soft wash"
        "|wet paint on paper|pastel|water colours|watery|thin colours|pale washes"
        "|watercolour illustration|children's book illustration|light washes",
        "watercolor portrait|aquarelle painting|colour washes|watercolour on paper|wet aquarelle",
    ),
    "pixel art": (
        "pixel art|8-bit|8 bit game|pixelated|retro game|mosaic|minecraft|pixels|blocks|16-bit"
        "|low resolution|video game sprite|nes game|game boy|arcade game|pixel|big pixels|pixelart"
        "|lego|old computer game",
        "retro pixels|8-bit sprite|blocky|pixel mosaic|snes game",
    ),
    "halftone": (
        "{}halftone|newspaper print|{}dots|{}newsprint|{}halftone dots|printed dots|dot pattern"
        "|{}dot screen|old newspaper|printed in {}dots|{}raster|{}risograph|{}polka dots"
        "|made of {}dots|{}halftone print|{}dotted print|screen of {}dots|halftone pattern"
        "|newspaper photo|offset print",
        "{}print raster|dotted {}picture|newspaper halftone|a grid of {}dots|{}riso print",
    ),
    "thermal": (
        "thermal camera|thermal|heat map|heat vision|thermal imaging|infrared|infrared camera"
        "|heat camera|thermography|predator vision|body heat|thermal vision|false colours|flir"
        "|thermal image|heat signature|temperature map|thermogram|heatmap|infrared heat",
        "seen by a heat camera|thermal scan|heat picture|thermal view|infrared thermography",
    ),
    "x-ray": (
        "{}x-ray|{}xray|{}x ray|x-ray negative|radiograph|{}x-ray picture|{}x-ray scan|ghost"
        "|medical scan|roentgen|{}x-ray vision|{}ghostly|hospital x-ray|mri scan|{}radiography"
        "|bones|skeleton|{}x-ray film|translucent|{}spectre",
        "{}xray photo|x-rayed|ct scan|{}ghost image|under {}x-rays",
    ),
    "negative": (
        "negative|inverted colours|inverted colors|photo negative|inverted|colour negative"
        "|film negative|invert|opposite colours|negative film|reversed colours|colour inversion"
        "|negative photo|color negative|inverse|negative image|inverted photo|inverted picture"
        "|complementary colours|negative picture",
        "inverted tones|a negative|colors inverted|film strip negative|inverse colors",
    ),
    "night vision": (
        "night vision|night vision goggles|green night vision|night vision camera|night scope"
        "|surveillance at night|military night vision|night goggles|low light camera|nightvision"
        "|image intensifier|seen through night vision|night vision green|night sight"
        "|green phosphor|spy camera at night|matrix|green goggles|night cam",
        "through night goggles|night vision scope|soldier's night vision|nightcam|goggles at night",
    ),
    "black and white": (
        "black and white|black and white photo|monochrome|grayscale|greyscale|noir|film noir|b&w"
        "|black & white|bw|no colour|without colours|silver print|grey|black and white film"
        "|old movie|monochrome photo|desaturated|silent film|gray",
        "colourless|b/w photo|black-and-white|greys only|monochrome film",
    ),
    "sepia": (
        "sepia|sepia photo|old photograph|vintage|sepia toned|antique photo|vintage photo"
        "|sepia tones|daguerreotype|victorian photograph|old western|aged photo|1900s"
        "|faded photo|sepia print|nineteenth century photograph|wild west|old-time photo",
        "sepia picture|photograph from 1890|antique|vintage sepia|tintype",
    ),
    "tint": (
        "{}tint|{}light|all {}|{}tones|{}monochrome|bathed in {}light|everything {}|{}filter|{}gel"
        "|{}tinted|{}toned|{}hue|lit in {}|{}colour|only {}|in shades of {}|{}spotlight|{}room|{}"
        "|{}stage light",
        "{}colour cast|tinted {}|{}lighting|washed in {}|{}ambience",
    ),
    "duotone": (
        "{}duotone|{}two-tone|{}two tone|{}bicolour|two colours, {}|{}split tone|{}duotone print"
        "|{}two colour print|duotone in {}|{}bichrome|{}two-colour|duotone {}|{}duotone photo"
        "|{}duotone style|{}two-colour poster|{}split toning|{}gradient map|{}album cover"
        "|spotify {}duotone|two tones of {}",
        "{}two-tone print|duo tone {}|{}duotone poster|in two tones, {}|{}bi-tone",
    ),
    "pop art": (
        "pop art|andy warhol|warhol|screen print|silkscreen|pop art poster|pop art portrait"
        "|loud colours|sixties poster|warhol print|pop-art|campbell's soup|serigraph|popart"
        "|marilyn by warhol|factory print|pop art style|psychedelic poster|acid colours",
        "warhol portrait|sixties pop art|screenprint|pop artist|pop art print",
    ),
    "posterised": (
        "posterised|posterized|posterise|posterize|few colours|reduced colours|colour bands|banded"
        "|flat poster colours|limited palette|poster|paint by numbers|gif colours|colour steps"
        "|posterization|posterisation|poster print|quantised colours|eight colours|cut paper",
        "posterize effect|a few flat colours|limited colors|poster effect|colour banding",
    ),
    "golden hour": (
        "golden hour|sunset|warm light|evening sun|sunset light|summer evening"
        "|late afternoon sun|warm|sunlit|sunrise|low sun|glowing sunset|candlelight|autumn light"
        "|warm glow|evening glow|honey light|summer|tuscany at sunset|dawn",
        "in the evening sun|at sunset|golden sunlight|warm evening|magic hour",
    ),
    "frosty": (
        "frosty|winter|ice|frozen|cold|icy|snow|frost|ice cold|arctic|wintry|covered in frost"
        "|snow queen|frozen in ice|north pole|blizzard|freezing|ice world|glacier|hoarfrost",
        "frostbitten|icy winter|made of ice|snowy|in the cold",
    ),
    "cyberpunk": (
        "cyberpunk|synthwave|vaporwave|blade runner|futuristic|cyberpunk city|retrowave|outrun"
        "|cyber|night city|cyberpunk style|eighties synthwave|hacker|neo noir city"
        "|cyberpunk 2077|tokyo at night|sci-fi|dystopian|club lights",
        "cyberpunk portrait|synth wave|neo-tokyo|vapor wave|cyberspace",
    ),
}

COLOUR_WORDS: Mapping[str, str] = {
    "red": "red|crimson|scarlet|ruby",
    "orange": "orange|tangerine|amber",
    "gold": "gold|golden",
    "yellow": "yellow|lemon",
    "green": "green|emerald|lime|bright green",
    "teal": "teal|petrol|sea green",
    "cyan": "cyan|turquoise|aqua|light blue",
    "blue": "blue|azure|cobalt|electric blue",
    "purple": "purple|violet|indigo",
    "magenta": "magenta|fuchsia|hot pink",
    "pink": "pink|rose|salmon",
    "brown": "brown|chestnut|chocolate",
    "white": "white|snow white",
    "black": "black|jet black",
}

GROUNDS: Mapping[str, str] = {
    "neon": "{} on {}|{} on a {} background|{} against {}|{}, {} background|{} before {}",
    "pencil": "{} on {} paper|{} on {}|{}, {} paper|{} on a {} background",
    "ink": "{} on {} paper|{} on {}|{}, {} background|{} on {} parchment",
    "halftone": "{} on {} paper|{} on {}|{} printed on {}|{}, {} background",
}

FRAMES = (
    "{}|{}|{}|a {}|{} style|in {} style|{}, {extra}|{extra}, {}|{} of {subject}|{subject}, {}"
    "|{subject} as {}|{subject} in {} style|a photo of {subject} as {}|portrait, {} style"
    "|make it {}|turn it into {}|{}, {subject}, {extra}|a {} of {subject}|{}!|{} effect|{} look"
)

EXTRAS = (
    "highly detailed|high quality|masterpiece|best quality|4k|8k|beautiful|sharp|intricate"
    "|cinematic|trending on artstation|award winning|detailed|aesthetic|dramatic|artistic|hd"
)

PEOPLE = (
    "a person|a portrait|a man|a woman|a face|someone|a selfie|a streamer|my face|people|me"
    "|a singer|a room|a woman with glasses|a man with a beard|a dancer|a girl|a boy|an old man|a dj"
)

THINGS = (
    "cat|dog|tree|house|mountain|robot|cyborg|astronaut|wizard|car|flower|king|queen|dragon|computer"
    "|guitar|horse|bird|castle|clown|pirate|zombie|vampire|tiger|teapot|lion|fox|whale|elf|knight"
)

DOINGS = (
    "riding a bike|in a forest|on the beach|in space|on a mountain|playing chess|eating pizza"
    "|at the sea|under water|with a hat|wearing a crown|driving a car|in a city|on the moon|dancing"
    "|reading a book|in the jungle|flying|in a castle|drinking coffee|made of cheese|with wings"
)
