"""The numbers among the live parameters that fade, and their ranges: those to be modulated."""

from collections.abc import Mapping

from streamcam.settings.base import traits
from streamcam.settings.number_range import Range
from streamcam.settings.parameters import Parameters

FADING_NUMBERS: Mapping[str, Range] = {
    name: range_
    for name, field in Parameters.model_fields.items()
    if traits(field).fades and (range_ := Range.of_field(field))
}
