"""Ask a running `mien serve` about photographs; nothing but Python's own library is needed.

mien serve &
python examples/client.py http://localhost:8000 examples/astronaut.jpg
"""

import json
import os
import sys
import urllib.error
import urllib.request

if len(sys.argv) < 3:
    sys.exit("usage: python client.py http://localhost:8000 PHOTO…")
address, *paths = sys.argv[1:]
headers = {"Content-Type": "application/octet-stream"}
if token := os.environ.get("MIEN_TOKEN"):
    headers["Authorization"] = f"Bearer {token}"
for path in paths:
    try:
        with open(path, "rb") as file:  # noqa: PTH123
            request = urllib.request.Request(f"{address}/v1/predict", file.read(), headers)
        with urllib.request.urlopen(request, timeout=30) as response:
            faces = json.load(response)["images"][0]["faces"]
    except urllib.error.HTTPError as error:
        sys.exit(f"{path}: {json.load(error)['error']['message']}")
    except urllib.error.URLError as error:
        sys.exit(f"{address} does not answer ({error.reason}); is `mien serve` running?")
    except OSError as error:
        sys.exit(f"{path}: {error.strerror}")
    for face in faces:
        print(path, face["label"], f"{face['confidence']:.2f}", *(round(value) for value in face["box"]))
