"""Names of the looks, with `{}` in the place of a colour; the second string is held out."""

from collections.abc import Mapping

PHRASES: Mapping[str, tuple[str, str]] = {
    "plain": (
        "photo|photograph|webcam|webcam picture|natural|realistic photo|original|as it is"
        "|no filter|no effects|unchanged|camera picture|plain picture|raw photo|real life"
        "|normal|true colours|without any style|the camera|realistic|normal photo"
        "|just the camera|a plain photo|natural picture|real photo|as the camera sees it"
        "|straight photo|clean picture|nothing changed|reality|real picture|no stylisation"
        "|normal camera|original colours|true to life|everyday photo|plain camera image"
        "|do nothing",
        "straight from the camera|untouched|ordinary photo|no style|photorealistic",
    ),
    "pencil": (
        "{}pencil sketch|{}pencil drawing|drawn with a {}pencil|sketched with {}graphite"
        "|graphite drawing|{}sketch|hand drawn {}sketch|{}charcoal|charcoal drawing"
        "|rough {}sketch|drawing in {}pencil|{}crayon drawing|sketchbook page|hatched drawing"
        "|{}pencil hatching|{}pencil|a drawing|{}coloured pencil|scribbled|pencil art"
        "|quick {}pencil sketch|fine {}pencil lines|{}pencil strokes|sketched|sketched portrait"
        "|drawn by hand|sketching|hand sketch|{}graphite|graphite sketch|shaded {}drawing"
        "|{}charcoal sketch|sketch on paper|artist's drawing|{}chalk drawing|doodle"
        "|life drawing|crosshatching",
        "{}pencil study|sketched by hand|graphite on paper|artist's sketch|{}lead pencil",
    ),
    "ink": (
        "{}ink drawing|pen and ink|{}line art|manga|{}ink|black and white ink|inked|woodcut"
        "|{}pen drawing|drawn with a {}pen|linocut|{}ink lines|brush and ink|manga page|stencil"
        "|{}ballpoint drawing|graphic novel in ink|{}lineart|bold {}ink strokes|{}etching"
        "|{}ink sketch|in {}ink|{}pen strokes|{}pen and ink drawing|{}felt pen|{}brush pen"
        "|calligraphy ink|ink on paper|japanese ink|{}ink illustration|black ink|inking"
        "|{}ink portrait|drawn in black ink|{}felt tip drawing|ink painting|{}pen lines"
        "|woodblock print",
        "{}fountain pen|drawn in {}ink|sumi-e|inkwork|{}marker drawing",
    ),
    "neon": (
        "{}neon edges|{}neon|glowing {}lines|{}neon outlines|{}neon lines|{}neon sign"
        "|{}neon light|glowing {}edges|{}light tubes|{}glowing contours|{}neon tubes"
        "|outlined in {}neon|{}tron|luminous {}outlines|{}laser lines|{}neon contours"
        "|{}edges that glow|{}electric outlines|{}fluorescent lines|neon {}glow|{}neon drawing"
        "|{}glow|glowing {}outlines|{}neon glow|neon {}lights|{}neon wires|lines in {}neon"
        "|{}light lines|{}wireframe|shiny {}neon|{}glow in the dark|{}neon signs"
        "|bright {}lines on black|contours of {}light|{}neon portrait|{}neon style"
        "|{}light painting|drawn with {}light",
        "{}neon contour lines|shining {}outlines|{}neon wireframe|lines of {}light|{}glow lines",
    ),
    "emboss": (
        "{}emboss|embossed|stone carving|{}relief|marble relief|{}bas-relief|carved in stone"
        "|statue|{}stone|embossed {}metal|{}plaster|clay|carving|{}sculpture|{}coin"
        "|engraved in {}metal|chiselled|{}medal|pressed into {}clay|{}relief carving"
        "|{}emboss effect|{}embossed|carved {}stone|stone relief|{}stone sculpture"
        "|sculpture in {}stone|{}metal relief|hammered {}metal|{}wax seal|{}plaster relief"
        "|carved|low relief|{}embossed paper|{}marble|marble statue|{}clay relief"
        "|raised {}metal|{}ceramic relief",
        "sculpted|hewn from stone|{}embossing|raised relief|{}plaster cast",
    ),
    "cartoon": (
        "cartoon|cartoon style|anime|toon|cel shaded|animated film|flat colours with outlines"
        "|cartoon character|animation|disney|drawn as a cartoon|children's cartoon|toon shading"
        "|anime style|cartoony|tv cartoon|saturday morning cartoon|vector art|caricature"
        "|a cartoon drawing|cartoon drawing|animated cartoon|toon style|animated|anime drawing"
        "|anime character|japanese anime|cel shaded cartoon|comic cartoon character"
        "|animated character|cartoon look|cartoon network|pixar|flat cartoon|kids cartoon"
        "|cartoon portrait|cartoon person",
        "like in a cartoon|cel shading|animated series|anime girl|toonified",
    ),
    "comic": (
        "comic|comic book|comic style|comic strip|superhero comic|graphic novel|comic panel"
        "|marvel comic|printed comic|american comic|comic book style|comics|comic page"
        "|comic with dots|vintage comic|comic art|bold comic lines|lichtenstein"
        "|roy lichtenstein|ben-day dots|a comic|superhero|comic page style|drawn as a comic"
        "|comic book page style|comic book panel|comic book hero|old comic|old comic book"
        "|american comics|comic portrait|pulp comic|comic print|comic book drawing"
        "|a page of comics|dc comics",
        "page of a comic book|newspaper comic|comic hero|silver age comic|comic drawing",
    ),
    "oil": (
        "oil painting|oil on canvas|painting|van gogh|impressionist painting|brush strokes"
        "|acrylic painting|thick paint|rembrandt|painted in oil|impasto|old master painting|oil"
        "|painted portrait|monet|painterly|expressionist painting|palette knife"
        "|classical painting|baroque painting|oil painted|an oil painting|oil portrait"
        "|oil colours|painted|painting on canvas|a painter's canvas|brushed paint|paint strokes"
        "|impressionist|impressionism|by van gogh|by monet|by rembrandt|fine art painting"
        "|old painting|gallery painting",
        "oils on canvas|painted by hand|renaissance painting|oil paint|in the style of a painter",
    ),
    "watercolour": (
        "watercolour|watercolor|watercolour painting|watercolor painting|aquarelle|gouache"
        "|watercolor wash|watercolour wash|pastel painting|painted with water colours|soft wash"
        "|wet paint on paper|pastel|water colours|watery|thin colours|pale washes"
        "|watercolour illustration|children's book illustration|light washes|aquarelle portrait"
        "|watercolor sketch|watercolour sketch|watercolor art|watercolour art|in watercolour"
        "|in watercolor|with watercolours|painted in watercolour|soft watercolour"
        "|loose watercolor|water paint|diluted paint|wet watercolor|washes of colour"
        "|wash painting|pastel washes|aquarelle paper",
        "watercolor portrait|aquarelle painting|colour washes|watercolour on paper|wet aquarelle",
    ),
    "pixel art": (
        "pixel art|8-bit|8 bit game|pixelated|retro game|mosaic|minecraft|pixels|blocks|16-bit"
        "|low resolution|video game sprite|nes game|game boy|arcade game|pixel|big pixels"
        "|pixelart|lego|old computer game|retro pixel game|8-bit pixels|16-bit pixels"
        "|pixel style|pixel game|8 bit|8-bit game|nintendo|super nintendo|square blocks"
        "|coarse pixels|chunky pixels|sprite|retro sprite|pixelate|pixel picture"
        "|retro video game",
        "retro pixels|8-bit sprite|blocky|pixel mosaic|snes game",
    ),
    "halftone": (
        "{}halftone|newspaper print|{}dots|{}newsprint|{}halftone dots|printed dots|dot pattern"
        "|{}dot screen|old newspaper|printed in {}dots|{}raster|{}risograph|{}polka dots"
        "|made of {}dots|{}halftone print|{}dotted print|screen of {}dots|halftone pattern"
        "|newspaper photo|offset print|{}halftone raster|{}print dots|{}dotted|dotted {}print"
        "|{}dot raster|{}newspaper dots|newspaper picture|newspaper|{}riso|{}grid of dots"
        "|grid of {}dots|{}printed halftone|{}dot grid|{}screen dots|printed newspaper photo"
        "|{}dot print|{}halftone screen|{}raster dots",
        "{}print raster|dotted {}picture|newspaper halftone|a grid of {}dots|{}riso print",
    ),
    "thermal": (
        "thermal camera|thermal|heat map|heat vision|thermal imaging|infrared|infrared camera"
        "|heat camera|thermography|predator vision|body heat|thermal vision|false colours|flir"
        "|thermal image|heat signature|temperature map|thermogram|heatmap|infrared heat|heat"
        "|thermal picture|thermal photo|thermal colours|thermal camera view|seen in infrared"
        "|infrared picture|infrared vision|infrared scan|heat scan|heat image|heat colours"
        "|scanned for heat|hot and cold|temperature|temperature colours|thermal goggles"
        "|infrared thermal camera",
        "seen by a heat camera|thermal scan|heat picture|thermal view|infrared thermography",
    ),
    "x-ray": (
        "{}x-ray|{}xray|{}x ray|x-ray negative|radiograph|{}x-ray picture|{}x-ray scan|ghost"
        "|medical scan|roentgen|{}x-ray vision|{}ghostly|hospital x-ray|mri scan|{}radiography"
        "|bones|skeleton|{}x-ray film|translucent|{}spectre|{}x-ray photo|{}x-ray image"
        "|an x-ray|{}x-rays|{}xray scan|xray picture|xray image|scan of bones|{}ghost"
        "|{}ghostly figure|{}skeleton x-ray|body scan|medical x-ray|medical scan image"
        "|seen through x-rays|{}radiograph|mri|{}transparent body",
        "{}xray photo|x-rayed|ct scan|{}ghost image|under {}x-rays",
    ),
    "negative": (
        "negative|inverted colours|inverted colors|photo negative|inverted|colour negative"
        "|film negative|invert|opposite colours|negative film|reversed colours|colour inversion"
        "|negative photo|color negative|inverse|negative image|inverted photo|inverted picture"
        "|complementary colours|negative picture|negative colours|colour inverted"
        "|invert the colours|invert colors|inverting colours|inversion|a photo negative"
        "|negative of a photo|film strip|negative filter|inverted film|all colours inverted"
        "|opposite|reverse colours|inverse picture|negative effect|inverted image"
        "|the negative of a picture",
        "inverted tones|a negative|colors inverted|film strip negative|inverse colors",
    ),
    "night vision": (
        "night vision|night vision goggles|green night vision|night vision camera|night scope"
        "|surveillance at night|military night vision|night goggles|low light camera"
        "|nightvision|image intensifier|seen through night vision|night vision green"
        "|night sight|green phosphor|spy camera at night|matrix|green goggles|night cam"
        "|night vision view|night vision filter|night vision style|a night vision camera"
        "|night vision device|goggles for the night|night goggles view|military goggles"
        "|green night camera|green night scope|seen at night|soldier at night|army night vision"
        "|scope at night|infrared night scope|dark green camera|night camera|night surveillance",
        "through night goggles|night vision scope|soldier's night vision|nightcam|goggles at night",
    ),
    "black and white": (
        "black and white|black and white photo|monochrome|grayscale|greyscale|noir|film noir"
        "|b&w|black & white|bw|no colour|without colours|silver print|grey|black and white film"
        "|old movie|monochrome photo|desaturated|silent film|gray|in black and white"
        "|black and white picture|b/w|b and w|b&w photo|bw photo|black white|monochrome picture"
        "|greys|shades of grey|shades of gray|grey tones|without colour|drained of colour"
        "|classic black and white|greyscale photo|old black and white film",
        "colourless|b/w photo|black-and-white|greys only|monochrome film",
    ),
    "sepia": (
        "sepia|sepia photo|old photograph|vintage|sepia toned|antique photo|vintage photo"
        "|sepia tones|daguerreotype|victorian photograph|old western|aged photo|1900s"
        "|faded photo|sepia print|nineteenth century photograph|wild west|old-time photo"
        "|sepia image|sepia film|sepia effect|in sepia|sepia style|old sepia photo"
        "|brown old photo|old picture|old photo|vintage picture|vintage photograph"
        "|photograph from 1900|photo from 1880|nostalgic photo|brownish old photograph"
        "|great-grandfather's photo",
        "sepia picture|photograph from 1890|antique|vintage sepia|tintype",
    ),
    "tint": (
        "{}tint|{}light|all {}|{}tones|{}monochrome|bathed in {}light|everything {}|{}filter"
        "|{}gel|{}tinted|{}toned|{}hue|lit in {}|{}colour|only {}|in shades of {}|{}spotlight"
        "|{}room|{}|{}stage light|{}colours|coloured {}|coloured light, {}|{}coloured|{}wash"
        "|{}glow over everything|{}lights|{}mood|{}atmosphere|{}lamp|{}cast|tint of {}|a {}tint"
        "|{}stage|{}scene|a {}light|lit {}",
        "{}colour cast|tinted {}|{}lighting|washed in {}|{}ambience",
    ),
    "duotone": (
        "{}duotone|{}two-tone|{}two tone|{}bicolour|two colours, {}|{}split tone"
        "|{}duotone print|{}two colour print|duotone in {}|{}bichrome|{}two-colour|duotone {}"
        "|{}duotone photo|{}duotone style|{}two-colour poster|{}split toning|{}gradient map"
        "|{}album cover|spotify {}duotone|two tones of {}|{}duotone picture|two tones, {}"
        "|two tone print in {}|{}two tones|in two colours, {}|{}duotone image|{}two-tone poster"
        "|duotone of {}|{}duotone filter|{}duotones|{}two-tone photo|{}bicolour print|{}bicolor"
        "|two tone {}|{}two tone poster|{}duotone art",
        "{}two-tone print|duo tone {}|{}duotone poster|in two tones, {}|{}bi-tone",
    ),
    "pop art": (
        "pop art|andy warhol|warhol|screen print|silkscreen|pop art poster|pop art portrait"
        "|loud colours|sixties poster|warhol print|pop-art|campbell's soup|serigraph|popart"
        "|marilyn by warhol|factory print|pop art style|psychedelic poster|acid colours"
        "|pop art screen print|pop art picture|pop art colours|sixties art|pop|pop painting"
        "|by andy warhol|like warhol|warhol style|warhol poster|sixties silkscreen"
        "|silkscreen print|screen printed|1960s pop art|bright pop art|pop art of the sixties"
        "|pop culture art|pop art image",
        "warhol portrait|sixties pop art|screenprint|pop artist|pop art print",
    ),
    "posterised": (
        "posterised|posterized|posterise|posterize|few colours|reduced colours|colour bands"
        "|banded|flat poster colours|limited palette|poster|paint by numbers|gif colours"
        "|colour steps|posterization|posterisation|poster print|quantised colours|eight colours"
        "|cut paper|posterize filter|posterise effect|poster colours|a poster|poster style"
        "|few flat colours|flat colours|flat areas of colour|reduced palette|limited colours"
        "|limited number of colours|small palette|colour reduction|colour bands effect|banding"
        "|bands of colour|stepped colours|posterized photo",
        "posterize effect|a few flat colours|limited colors|poster effect|colour banding",
    ),
    "golden hour": (
        "golden hour|sunset|warm light|evening sun|sunset light|summer evening"
        "|late afternoon sun|warm|sunlit|sunrise|low sun|glowing sunset|candlelight"
        "|autumn light|warm glow|evening glow|honey light|summer|tuscany at sunset|dawn"
        "|golden hour light|golden light|golden evening|golden sunset|evening light|evening"
        "|in the evening|warm sunset|in warm light|warm sunlight|warm colours|warm sun|sunny"
        "|sunset glow|sunset colours|setting sun|at dawn",
        "in the evening sun|at sunset|golden sunlight|warm evening|magic hour",
    ),
    "frosty": (
        "frosty|winter|ice|frozen|cold|icy|snow|frost|ice cold|arctic|wintry|covered in frost"
        "|snow queen|frozen in ice|north pole|blizzard|freezing|ice world|glacier|hoarfrost"
        "|frosty look|icy cold|icy blue|winter cold|cold winter|winter day|in winter"
        "|in the snow|snow and ice|snow covered|covered in snow|covered in ice|ice age"
        "|frozen over|frozen winter|cold light|cool blue light|chilly",
        "frostbitten|icy winter|made of ice|snowy|in the cold",
    ),
    "cyberpunk": (
        "cyberpunk|synthwave|vaporwave|blade runner|futuristic|cyberpunk city|retrowave|outrun"
        "|cyber|night city|cyberpunk style|eighties synthwave|hacker|neo noir city"
        "|cyberpunk 2077|tokyo at night|sci-fi|dystopian|club lights|cyberpunk look"
        "|cyberpunk lights|cyberpunk scene|cyberpunk night|cyberpunk movie|cyberpunk street"
        "|cyber city|cyber punk|synthwave style|synthwave colours|vaporwave style"
        "|retro synthwave|neon city at night|tokyo lights|night club|future city"
        "|science fiction|eighties retro",
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
