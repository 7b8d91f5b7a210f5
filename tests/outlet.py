"""An outlet for what is sent, as a test wants it to be."""

import threading


class Outlet:
    """Takes records while it is open and tells at once what became of them."""

    def __init__(self, open_=True, fate=lambda number: "delivered", largest=1_000_000):
        self.open, self.fate, self.largest = open_, fate, largest
        self.tried, self.taken = 0, []
        self.busy = threading.Event()

    def send(self, topic, key, value, headers, done):
        self.busy.set()
        if value is not None and len(value) > self.largest:
            raise ValueError("too large")
        if not self.open:
            return False
        self.tried += 1
        fate = self.fate(self.tried)
        if fate == "delivered":
            self.taken.append((topic, key, value, headers))
        if fate is not None:
            done(fate)
        return True
