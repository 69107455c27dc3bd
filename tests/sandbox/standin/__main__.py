"""`python3 -m standin NAME [ARGUMENT...]`: what the small programs in the images run."""

import importlib
import sys

sys.path.insert(0, "/sandbox")


def main():
    name = sys.argv[1]
    module, _, function = name.partition(":")
    importlib.import_module(f"standin.{module}").__dict__[function or "main"](*sys.argv[2:])


main()
