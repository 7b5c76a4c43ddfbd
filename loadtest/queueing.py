"""Stations in a row, their servers spread over three zones: a discrete-event simulation. Pure.

Parcels of events arrive at random (a Poisson process from a seed), wait for a server of the first
station, then of the next. The first may be bounded: what does not fit is refused. A station may
keep its server until the next one has done its part, as a worker does that waits for its insert. A
zone may be lost for a time: what its gateways held gets no answer; what others held is done again.
"""

from collections import deque
from dataclasses import dataclass, field
from heapq import heappop, heappush
from math import inf
from random import Random
from typing import Final

ZONES: Final = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Station:
    """Servers that do the same."""

    name: str
    servers: int
    event_us: float
    """How long one server takes for one event."""
    bound_events: float = inf
    """How many may wait at the first station; past it they are refused."""
    keeps_server: bool = False
    """Whether its server waits for the next station's."""


@dataclass(frozen=True, slots=True)
class Outage:
    """A zone is away."""

    begins_s: float
    ends_s: float
    zone: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """What is simulated. Whoever has passed the first station was answered 202."""

    stations: tuple[Station, ...]
    events_per_s: float
    parcel_events: int
    seconds: float
    seed: int = 1
    outage: Outage | None = None
    drains: bool = False
    """Go on without arrivals until nothing waits."""


@dataclass(slots=True)
class Flow:
    """What passed one station."""

    name: str
    arrived: int = 0
    left: int = 0
    sojourn: float = 0.0
    """Seconds that events spent there, summed over those that left it or are there at the end."""
    present: float = 0.0
    """Integral of the events there over time: event-seconds."""
    busy: float = 0.0
    """Integral of busy servers over time: server-seconds."""
    offered: float = 0.0
    """Integral of servers that were there."""

    @property
    def utilisation(self) -> float:
        """Share of the servers that worked, or held what the next station did."""
        return self.busy / self.offered if self.offered else 0.0


@dataclass(frozen=True, slots=True)
class Moment:
    """Totals of events at a time."""

    at_s: float
    arrived: int
    answered: int
    refused: int
    unanswered: int
    stored: int

    @property
    def backlog(self) -> int:
        """What was answered 202 and is not stored yet."""
        return self.answered - self.stored


@dataclass(slots=True)
class Outcome:
    """What became of all events."""

    seconds: float = 0.0
    arrived: int = 0
    answered: int = 0
    refused: int = 0
    unanswered: int = 0
    stored: int = 0
    waiting_answer: int = 0
    """At the first station at the end."""
    waiting_store: int = 0
    flows: list[Flow] = field(default_factory=list)
    moments: list[Moment] = field(default_factory=list)


class _Parcel:
    __slots__ = ("at", "came_s", "entered_s", "run", "zones")

    def __init__(self, now: float) -> None:
        self.came_s = now
        self.entered_s = now
        self.at = 0
        self.run = 0
        """Rises when what it was doing is given up, so that the old end of it is known."""
        self.zones: dict[int, int] = {}
        """Station by station the zone of the server that it holds."""


class _Room:
    """A station's state."""

    def __init__(self, station: Station) -> None:
        self.station = station
        self.all = [len(range(zone, station.servers, ZONES)) for zone in range(ZONES)]
        self.free = list(self.all)
        self.there = station.servers
        self.queue: deque[_Parcel] = deque()
        self.holding: set[_Parcel] = set()
        self.present = 0

    def take(self) -> int | None:
        zone = max(range(ZONES), key=self.free.__getitem__)
        if self.free[zone] <= 0:
            return None
        self.free[zone] -= 1
        return zone


class Simulation:
    """One run of a setting."""

    def __init__(self, setting: Setting) -> None:
        self._setting = setting
        self._random = Random(setting.seed)
        self._rooms = [_Room(station) for station in setting.stations]
        self._lost: int | None = None
        self._heap: list[tuple[float, int, str, _Parcel | None, int]] = []
        self._order = 0
        self._now = 0.0
        self._outcome = Outcome(flows=[Flow(station.name) for station in setting.stations])

    def run(self) -> Outcome:
        """Simulate, and return what became of all events."""
        setting = self._setting
        self._at(self._gap(), "arrive")
        if setting.outage:
            self._at(setting.outage.begins_s, "lose")
            self._at(setting.outage.ends_s, "return")
        for second in range(1, int(setting.seconds) + 1):
            self._at(float(second), "look")
        while self._heap:
            at, _, kind, parcel, run = heappop(self._heap)
            if at > setting.seconds and not setting.drains:
                break
            self._pass_time(at)
            if parcel is None:
                self._happen(kind)
            elif parcel.run == run:
                self._finish(parcel)
        self._pass_time(max(self._now, setting.seconds))
        return self._close()

    def _at(self, at: float, kind: str, parcel: _Parcel | None = None) -> None:
        self._order += 1
        run = parcel.run if parcel else 0
        heappush(self._heap, (at, self._order, kind, parcel, run))

    def _gap(self) -> float:
        mean = self._setting.parcel_events / self._setting.events_per_s
        return self._now + self._random.expovariate(1 / mean)

    def _pass_time(self, to: float) -> None:
        took = to - self._now
        for room, flow in zip(self._rooms, self._outcome.flows, strict=True):
            flow.present += room.present * took
            flow.busy += len(room.holding) * took
            flow.offered += room.there * took
        self._now = to

    def _happen(self, kind: str) -> None:
        if kind == "arrive":
            if self._now < self._setting.seconds:
                self._arrive()
                self._at(self._gap(), "arrive")
        elif kind == "lose" and self._setting.outage:
            self._lose(self._setting.outage.zone)
        elif kind == "return":
            self._return()
        elif kind == "look":
            self._look()

    def _arrive(self) -> None:
        events = self._setting.parcel_events
        self._outcome.arrived += events
        room = self._rooms[0]
        if (len(room.queue) + 1) * events > room.station.bound_events:
            self._outcome.refused += events
            return
        self._enter(_Parcel(self._now), 0)

    def _enter(self, parcel: _Parcel, at: int) -> None:
        parcel.at, parcel.entered_s = at, self._now
        room = self._rooms[at]
        room.present += self._setting.parcel_events
        self._outcome.flows[at].arrived += self._setting.parcel_events
        room.queue.append(parcel)
        self._serve(at)

    def _serve(self, at: int) -> None:
        room = self._rooms[at]
        while room.queue:
            zone = room.take()
            if zone is None:
                return
            parcel = room.queue.popleft()
            parcel.zones[at] = zone
            room.holding.add(parcel)
            took = room.station.event_us * self._setting.parcel_events / 1e6
            self._at(self._now + took, "finish", parcel)

    def _finish(self, parcel: _Parcel) -> None:
        at = parcel.at
        self._leave(parcel, at)
        room = self._rooms[at]
        if not room.station.keeps_server:
            self._release(parcel, at)
        if at > 0 and at - 1 in parcel.zones:
            self._release(parcel, at - 1)
        if at == 0:
            self._outcome.answered += self._setting.parcel_events
        if at + 1 < len(self._rooms):
            self._enter(parcel, at + 1)
        else:
            self._outcome.stored += self._setting.parcel_events

    def _leave(self, parcel: _Parcel, at: int) -> None:
        events = self._setting.parcel_events
        self._rooms[at].present -= events
        flow = self._outcome.flows[at]
        flow.left += events
        flow.sojourn += (self._now - parcel.entered_s) * events

    def _release(self, parcel: _Parcel, at: int) -> None:
        zone = parcel.zones.pop(at)
        room = self._rooms[at]
        room.holding.discard(parcel)
        if zone != self._lost:
            room.free[zone] += 1
        self._serve(at)

    def _lose(self, zone: int) -> None:
        self._lost = zone
        for room in self._rooms:
            room.free[zone] = 0
            room.there -= room.all[zone]
        for at, room in enumerate(self._rooms):
            gone = [parcel for parcel in room.holding if parcel.zones[at] == zone]
            for parcel in sorted(gone, key=lambda one: one.came_s):
                self._give_up(parcel, at)
        first = self._rooms[0]
        kept: deque[_Parcel] = deque()
        for number, parcel in enumerate(first.queue):
            if number % ZONES == zone:
                self._leave(parcel, 0)
                self._outcome.unanswered += self._setting.parcel_events
            else:
                kept.append(parcel)
        first.queue = kept
        for at in range(len(self._rooms)):
            self._serve(at)

    def _give_up(self, parcel: _Parcel, at: int) -> None:
        """A server went away with what it held: at the edge for good, else it is done again."""
        parcel.run += 1
        self._rooms[at].holding.discard(parcel)
        del parcel.zones[at]
        if at == 0:
            self._leave(parcel, 0)
            self._outcome.unanswered += self._setting.parcel_events
            return
        if parcel.at > at:  # a worker that waited for its insert: nobody waits for that any more
            later = self._rooms[parcel.at]
            self._leave(parcel, parcel.at)
            if parcel.at in parcel.zones:
                self._release(parcel, parcel.at)
            else:
                later.queue.remove(parcel)
            room = self._rooms[at]
            parcel.at, parcel.entered_s = at, self._now
            room.present += self._setting.parcel_events
            self._outcome.flows[at].arrived += self._setting.parcel_events
        self._rooms[at].queue.appendleft(parcel)

    def _return(self) -> None:
        zone, self._lost = self._lost, None
        for at, room in enumerate(self._rooms):
            if zone is not None:
                room.free[zone] = room.all[zone]
                room.there += room.all[zone]
            self._serve(at)

    def _look(self) -> None:
        done = self._outcome
        self._outcome.moments.append(
            Moment(
                self._now, done.arrived, done.answered, done.refused, done.unanswered, done.stored
            )
        )

    def _close(self) -> Outcome:
        done = self._outcome
        done.seconds = self._now
        done.waiting_answer = self._rooms[0].present
        done.waiting_store = sum(room.present for room in self._rooms[1:])
        for at, (room, flow) in enumerate(zip(self._rooms, done.flows, strict=True)):
            there = {*room.queue, *(one for one in room.holding if one.at == at)}
            events = self._setting.parcel_events
            flow.sojourn += sum((self._now - parcel.entered_s) * events for parcel in there)
        return done


def simulate(setting: Setting) -> Outcome:
    """Return what becomes of all events."""
    return Simulation(setting).run()
