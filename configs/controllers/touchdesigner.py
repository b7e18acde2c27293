"""Component for TouchDesigner that steers streamcam; docs/controllers.py writes its table.

Put this text into a Text DAT and run it (right-click, "Run Script"). It makes the component
"streamcam" next to the DAT, with a parameter for each address, and an OSC Out DAT within that
sends each as it changes. Running it again replaces the component.
"""

# fmt: off
# ruff: noqa
HOST, PORT = "127.0.0.1", 9000
SPANS = {}
"""Ends of sliders that your model has of its own, by address, such as
{"/streamcam/strength": (0, 0.6)}; "streamcam osc list --set model=NAME" shows them."""
CONTROLS = [
    # group, kind, name, label, address, default, lowest, highest, fader, choices
    ('Prompt', 'Str', 'Prompt', 'prompt', '/streamcam/prompt', '', None, None, None, ()),
    ('Prompt', 'Str', 'Negativeprompt', 'negative prompt', '/streamcam/negative_prompt', '', None, None, None, ()),
    ('Prompt', 'Menu', 'Promptinterpolation', 'prompt interpolation', '/streamcam/prompt_interpolation', 'linear', None, None, None, ('linear', 'slerp')),
    ('Camera', 'Menu', 'Rotate', 'rotate', '/streamcam/rotate', '0', None, None, None, ('0', '90', '180', '270')),
    ('Look', 'Menu', 'Preseteasing', 'preset easing', '/streamcam/preset_easing', 'linear', None, None, None, ('linear', 'ease-in', 'ease-out', 'ease-in-out')),
    ('Look', 'Float', 'Strength', 'strength', '/streamcam/strength', 0, 0.0, 1.0, (0, 1), ()),
    ('Look', 'Float', 'Strengthperson', 'strength person', '/streamcam/strength_person', 0, 0.0, 1.0, (0, 1), ()),
    ('Look', 'Float', 'Strengthbackground', 'strength background', '/streamcam/strength_background', 0, 0.0, 1.0, (0, 1), ()),
    ('Look', 'Int', 'Numinferencesteps', 'num inference steps', '/streamcam/num_inference_steps', 50, 1.0, 1000.0, (1, 100), ()),
    ('Look', 'Float', 'Guidancescale', 'guidance scale', '/streamcam/guidance_scale', 1.2, 0.0, 30.0, (0, 4), ()),
    ('Look', 'Float', 'Delta', 'delta', '/streamcam/delta', 1.0, 0.0, 10.0, (0, 2), ()),
    ('Look', 'Float', 'Guidancerescale', 'guidance rescale', '/streamcam/guidance_rescale', 0.0, 0.0, 1.0, (0, 1), ()),
    ('Look', 'Float', 'Eta', 'eta', '/streamcam/eta', 0.3, 0.0, 1.0, (0, 1), ()),
    ('Look', 'Float', 'Edgelow', 'edge low', '/streamcam/edge_low', 100, 0.0, 1000.0, (0, 400), ()),
    ('Look', 'Float', 'Edgehigh', 'edge high', '/streamcam/edge_high', 200, 0.0, 1000.0, (0, 400), ()),
    ('Look', 'Float', 'Temporalstrength', 'temporal strength', '/streamcam/temporal_strength', 0.8, 0.0, 1.0, (0, 1), ()),
    ('Look', 'Float', 'Temporallength', 'temporal length', '/streamcam/temporal_length', 8.0, 1.0, 1000.0, (1, 33), ()),
    ('Look', 'Float', 'Temporalthreshold', 'temporal threshold', '/streamcam/temporal_threshold', 0.95, 0.0, 1.0, (0.5, 1), ()),
    ('Look', 'Float', 'Outputblend', 'output blend', '/streamcam/output_blend', 0.0, 0.0, 1.0, (0, 1), ()),
    ('Look', 'Toggle', 'Noisefollow', 'noise follow', '/streamcam/noise_follow', False, None, None, None, ()),
    ('Look', 'Pulse', 'Imagepromptgrab', 'image prompt grab', '/streamcam/image_prompt_grab', None, None, None, None, ()),
    ('Look', 'Int', 'Seed', 'seed', '/streamcam/seed', 2, 0.0, 2147483647, (0, 9999), ()),
    ('Look', 'Toggle', 'Enablesimilarimagefilter', 'enable similar image filter', '/streamcam/enable_similar_image_filter', False, None, None, None, ()),
    ('Look', 'Float', 'Similarimagefilterthreshold', 'similar image filter threshold', '/streamcam/similar_image_filter_threshold', 0.98, -1.0, 1.0, (0.8, 1), ()),
    ('Look', 'Int', 'Similarimagefiltermaxskipframe', 'similar image filter max skip frame', '/streamcam/similar_image_filter_max_skip_frame', 10, 0.0, 100000.0, (0, 60), ()),
    ('Look', 'Pulse', 'Reset', 'reset', '/streamcam/reset', None, None, None, None, ()),
    ('Camera', 'Toggle', 'Mirror', 'mirror', '/streamcam/mirror', False, None, None, None, ()),
    ('Output', 'Float', 'Mix', 'mix', '/streamcam/mix', 1.0, 0.0, 1.0, (0, 1), ()),
    ('Output', 'Float', 'Detail', 'detail', '/streamcam/detail', 1.0, 0.0, 1.0, (0, 1), ()),
    ('Safety', 'Toggle', 'Bypass', 'bypass', '/streamcam/bypass', False, None, None, None, ()),
    ('Safety', 'Toggle', 'Freeze', 'freeze', '/streamcam/freeze', False, None, None, None, ()),
    ('Safety', 'Toggle', 'Blackout', 'blackout', '/streamcam/blackout', False, None, None, None, ()),
    ('Safety', 'Toggle', 'Panic', 'panic', '/streamcam/panic', False, None, None, None, ()),
    ('Camera', 'Float', 'Fpslimit', 'fps limit', '/streamcam/fps_limit', 0.0, 0.0, 1000.0, (0, 60), ()),
    ('Prompt', 'Float', 'Prompttime', 'prompt time', '/streamcam/prompt_time', 0.0, 0.0, 600.0, (0, 10), ()),
    ('Look', 'Float', 'Presettime', 'preset time', '/streamcam/preset_time', 0.0, 0.0, 600.0, (0, 10), ()),
    ('Output', 'Toggle', 'Record', 'record', '/streamcam/record', True, None, None, None, ()),
    ('Output', 'Pulse', 'Snapshot', 'snapshot', '/streamcam/snapshot', None, None, None, None, ()),
    ('Look', 'Pulse', 'Seedrandom', 'seed random', '/streamcam/seed/random', None, None, None, None, ()),
    ('Presets', 'Pulse', 'Presetnext', 'preset next', '/streamcam/preset/next', None, None, None, None, ()),
    ('Presets', 'Pulse', 'Presetprev', 'preset prev', '/streamcam/preset/prev', None, None, None, None, ()),
    ('Presets', 'Pulse', 'Presetrefresh', 'preset refresh', '/streamcam/preset/refresh', None, None, None, None, ()),
]

CALLBACKS = """
ADDRESSES = ADDRESS_TABLE


def onValueChange(par, prev):
    value = par.menuIndex if par.isMenu else par.eval()
    if par.isToggle:
        value = int(value)
    op("oscout").sendOSC(ADDRESSES[par.name], [value])
    return


def onPulse(par):
    op("oscout").sendOSC(ADDRESSES[par.name], [1])
    return
"""


def set_par(operator, names, value):
    """Set the first parameter that this build of TouchDesigner has of `names`."""
    for name in names:
        if hasattr(operator.par, name):
            setattr(operator.par, name, value)
            return
    raise AttributeError(f"{operator} has none of the parameters {names}")


def build(parent):
    """Return the component, made in `parent`."""
    old = parent.op("streamcam")
    if old is not None:
        old.destroy()
    comp = parent.create(baseCOMP, "streamcam")
    out = comp.create(oscoutDAT, "oscout")
    set_par(out, ("address", "netaddress"), HOST)
    set_par(out, ("port",), PORT)
    pages = {}
    for group, kind, name, label, address, default, low, high, fader, choices in CONTROLS:
        if group not in pages:
            pages[group] = comp.appendCustomPage(group)
        add(
            pages[group], kind, name, label, default, low, high, SPANS.get(address, fader), choices
        )
    # Made last, so that nothing is sent while the parameters get their defaults.
    send = comp.create(parameterexecuteDAT, "send")
    send.par.op = ".."
    send.par.pars = "*"
    send.par.custom = True
    send.par.builtin = False
    send.par.valuechange = True
    send.par.onpulse = True
    addresses = {control[2]: control[4] for control in CONTROLS}
    send.text = CALLBACKS.replace("ADDRESS_TABLE", repr(addresses))
    return comp


def add(page, kind, name, label, default, low, high, fader, choices):
    """Append one parameter to a page."""
    par = getattr(page, f"append{kind}")(name, label=label)[0]
    if kind in ("Float", "Int"):
        par.normMin, par.normMax = fader
        if low is not None:
            par.min, par.clampMin = low, True
        if high is not None:
            par.max, par.clampMax = high, True
    if kind == "Menu":
        par.menuNames = par.menuLabels = choices
    if default is not None:
        par.default = par.val = default


build(me.parent())
