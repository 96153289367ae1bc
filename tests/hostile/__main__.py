"""Lists the payloads."""

from hostile import payloads

for number, each in enumerate(payloads(), 1):
    print(f"{number:4} {each.name}  [{', '.join(each.uses)}]")
