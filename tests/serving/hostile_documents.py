"""Documents that want to be more than text."""

from __future__ import annotations

ATTACK = (
    "</script></style></textarea><script>window.taken = 1</script>"
    "<img src='https://evil.example/x.png' onerror='window.taken = 2'>"
    "<a href=\"javascript:window.taken = 3\">zebra</a> <svg onload='window.taken = 4'>"
)
_LINES = f"{'Nothing 🦓 is here. ' * 600}\nOne 🦓 or quagga.\n{'The end. ' * 3000}."
# By id: title and text; each is found by "zebra".
HOSTILE = {
    "attack/<img src=x onerror=alert(1)>#a?b=c&d": (f"zebra {ATTACK}", f"The zebra. {ATTACK}"),
    "javascript:alert(1)": ("zebra javascript:alert(1)", "A zebra, javascript:alert(document)."),
    "guide/neighbours": ("zebra crossing", "Zebras cross the road where zebras crossed before."),
    "\u202egro.elp 100%": ("zebra \u202eesrever\u2066", "\u202eA zebra\u202e \u2067here\u0007."),
    "مستند/١": ("حمار وحشي zebra", "الحمار الوحشي zebra حيوان."),
    "long#word": ("zebra without spaces", f"A zebra {'W' * 1_000_000}"),
    "long#lines": ("zebra in the middle", _LINES),
}  # fmt: skip
