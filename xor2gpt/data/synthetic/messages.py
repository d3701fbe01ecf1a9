"""Short messages, wanted (ham) or not (spam), with a difficulty and planted duplicates.

Does: make messages from templates with a known label, group and disguise; plant exact and near
duplicates whose group ids say which messages a split must keep together.
Does not: contain a real person, company, number or address. Telephone numbers are of the ranges
that Britain's regulator keeps free for fiction, addresses end in ``.example`` [RFC 2606]. Does not
reproduce any message of the SMS Spam Collection; only its share of spam (13 %) is taken over.
Source: own texts.

``difficulty`` from 0 to 1 mixes three ways in which the classes come to look alike:

1. *lookalikes*: spam in the words of a friend; ham with codes, parcels, links and capitals;
2. *disguise*: letters of spam words replaced or spaced out (``pr1ze``, ``f-r-e-e``), and half a
   message of the other class behind a message;
3. *common ground*: messages that both classes send, with a request that one class makes four times
   as often as the other. Nobody can tell these for certain: one in five of them has the request of
   the other class. They are ``difficulty / 2`` of all, so no classifier gets them all right.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

__all__ = ["SPAM_SHARE", "GeneratedMessages", "messages"]

SPAM_SHARE = 13  # of 100
PERCENT = 100

# Area codes whose numbers 496 0000 to 496 0999 Ofcom recommends for drama use.
FICTION_AREAS = (
    *("0113", "0114", "0115", "0116", "0117", "0118", "0121", "0131", "0141", "0151", "0161"),
)

_SLOTS: dict[str, tuple[str, ...]] = {
    "friend": ("Mia", "Jonas", "Lena", "Paul", "Ida", "Tom", "Rosa", "Max", "Nils", "Eva", "Ben"),
    "kin": ("mum", "dad", "gran", "my sister", "my brother", "auntie", "the kids", "uncle Jo"),
    "place": (
        *("the station", "the library", "the gym", "our place", "the pool", "the cafe"),
        *("the bus stop", "the cinema", "work", "the park", "the market", "school", "the harbour"),
    ),
    "time": (
        *("at 7", "at half past six", "after lunch", "tonight", "at noon", "in ten minutes"),
        *("tomorrow", "on friday", "at 8.15", "later", "around five", "this evening", "on sunday"),
    ),
    "food": (
        *("pizza", "soup", "noodles", "pancakes", "curry", "salad", "the leftovers", "dumplings"),
        *("fish and chips", "lentils", "apple cake", "toast"),
    ),
    "errand": (
        *("buy milk", "feed the cat", "post the letter", "water the plants", "lock the shed"),
        *("bring my charger", "call the dentist", "pick up the parcel", "print the tickets"),
        *("return the books", "get bread", "take the bins out"),
    ),
    "mood": (
        "tired",
        "happy",
        "late",
        "starving",
        "fine",
        "bored",
        "stuck in traffic",
        "on my way",
    ),
    "thing": (
        *("umbrella", "red scarf", "keys", "blue folder", "bike lock", "lunch box", "headphones"),
        *("phone charger", "maths book", "jacket"),
    ),
    "event": ("exam", "concert", "interview", "match", "party", "trip", "meeting", "rehearsal"),
    "prize": (
        *("a holiday for two", "a new phone", "1000 in cash", "a tablet", "500 in vouchers"),
        *("a luxury weekend", "a games console", "2000 bonus points", "a dream kitchen"),
    ),
    "lure": ("FREE", "WIN", "URGENT", "BONUS", "EXCLUSIVE", "CONGRATULATIONS", "LAST CHANCE"),
    "act": ("Claim", "Collect", "Unlock", "Confirm", "Activate", "Redeem"),
    "service": (
        *("ringtones", "horoscopes", "loan offer", "betting tips", "chat line", "diet plan"),
        *("debt relief", "premium games", "crypto tips", "miracle cream"),
    ),
    "deadline": ("today only", "within 24 hours", "before midnight", "by 6pm", "now", "this week"),
    "price": ("99p/msg", "1.50 per min", "2.99 a week", "just 4.99", "10p a text", "only 9.99"),
    "sender": ("PRIZELINE", "LUCKYDROP", "QUICKCASH", "MEGAWIN", "TOPDEALZ", "FONEFUN"),
}
_HAM = (
    "Hi {friend}, are we still meeting {time}? I can wait at {place}",
    "Can you {errand} {time}? I am {mood}",
    "{kin} says hello. We had {food} and talked about the {event}",
    "Sorry, {mood}. Start without me, I will be at {place} {time}",
    "Did you find the {thing}? I think I left it at {place}",
    "How was the {event}? Tell me everything {time}",
    "Ok. See you {time} then",
    "I made {food}, come over {time} if you like",
    "Please {errand} before {kin} comes home",
    "Good luck with the {event}! {friend} and I are thinking of you",
    "{friend} forgot the {thing} again... can you bring it to {place}?",
    "Just got to {place}. So {mood} but all good",
    "Happy birthday {friend}! Cake {time}?",
    "No idea, ask {kin}. I have the {event} {time}",
    "Thanks for the {food}, it was lovely. Next time at {place}",
    "The train is late, be there {time}. Save me some {food}",
    "lol yes, {friend} told me about the {event} too",
    "Reminder to self: {errand}, then meet {kin} at {place}",
    "I'm at {place}, where are you? Call me when you can",
    "Don't forget the {thing} for the {event}",
)
_SPAM = (
    "{lure}! You have been selected for {prize}. {act} it {deadline}: call {phone}",
    "{sender}: {lure}! {act} {prize} {deadline}. Text {word} to {short}. {price}",
    "Your number has won {prize}! {act} at {link} code {code}. T&C apply",
    "{lure} {service}! Reply {word} to {short} {deadline}. {price}. STOP to end",
    "{lure}: your account earned {prize}. {act} {deadline} at {link}",
    "Dear customer, {prize} is waiting. Call {phone} {deadline}, quote {code}. {price}",
    "Hot {service} on your mobile, {price}. Send {word} to {short}",
    "We tried to reach you about {prize}. {act} {deadline}: {link}. {price}",
    "{sender}: final notice! {act} {prize}, ref {code}. Call {phone}",
    "Need cash? {service} approved in minutes. {act} {deadline}: {link}",
    "{lure}!! Text {word} to {short} for {service}. First one free then {price}",
    "Guaranteed {prize} for 100 callers {deadline}. {phone}. {price}. 18+",
)
# Difficulty: spam that sounds like a friend, and ham that sounds like spam.
_SOFT_SPAM = (
    "Hi {friend}, I lost my phone, this is my new number. Can you call {phone} {time}?",
    "{friend} says hello! See the photos from the {event}: {link}",
    "Are you still {mood}? I can help, call me {time} {phone}",
    "Sorry I missed you at {place}. Your parcel is here, small fee: {link}",
    "Hello, it was lovely at the {event}. Chat with me {time}, text {short}",
    "Thanks for waiting. Your {thing} order needs a payment {time}: {link}",
    "Mum it's me, {mood}. Please send money {time} and call {phone}",
    "Did you forget the {event}? Tickets for {friend} and you: {link}",
)
_LOUD_HAM = (
    "Your code is {code}. It is valid for ten minutes. Do not share it",
    "Parcel {code} arrives {time}. Track it: {link}",
    "Reminder: dentist {time}. To change call {phone}",
    "URGENT call me {time}, {kin} locked the {thing} in the car",
    "WIN!! we won the {event}!!! free {food} for all {time}",
    "Your library books are due {time}. Renew at {link}",
    "Free tickets for the {event}! {friend} has two, claim yours {time}",
    "Bank notice: 20.00 paid at {place}, ref {code}. Questions: {phone}",
    "My new number is {phone}. Text me {time}",
    "Congratulations {friend} on the {event}! You won the bet, cash {time}",
)
# Both classes send these; only {ask} tells, and not always.
_COMMON = (
    "Hi, this is my new number. {ask} {time}?",
    "Hello from {friend}. {ask}, I am {mood}",
    "It's about the {event} {time}. {ask}",
    "Are you there? {ask} {time}, it's for {kin}",
    "{ask}, I will explain {time}",
    "I am at {place} and need help. {ask}",
    "Last message for today: {ask}. {friend} will be there too",
    "The {thing} has arrived. {ask} {time}",
)
_SPAM_ASKS = (
    *("can you send me the money", "please pay the small fee", "tap the link I sent"),
    *("tell me the code you got", "reply with your card number", "please confirm your account"),
    *("add me on the chat app", "fill in the form first"),
)
_HAM_ASKS = (
    *("can you give me the address", "please bring the tickets", "look at the photo I sent"),
    *("tell me the room number", "reply when you are home", "please confirm the table"),
    *("pick me up at the door", "set the table first"),
)
_LIKE_THE_OTHER = 20  # percent of the common messages make the other class's request
_OPENERS = ("", "", "", "", "Hey! ", "ok so ", "Oh, ", "btw ", "Hm. ", "Quick one: ")
_CLOSERS = ("", "", "", "", " x", " :)", " thx", " Cheers", "!", " ...", " ok?", ".")
_DISGUISE = {"a": "4", "e": "3", "i": "1", "o": "0", "s": "5", "A": "4", "E": "3", "I": "1",
             "O": "0", "S": "5"}  # fmt: skip


@dataclass(frozen=True)
class GeneratedMessages:
    """Messages with what is known of them; all arrays have one entry a message.

    Attributes:
        texts: the messages.
        labels: int64 (N,), 1 = spam, 0 = ham.
        groups: int64 (N,): messages with the same group are duplicates or near duplicates of one
            another. A split that takes one apart leaks from training into test.
        kinds: ``original``, ``exact`` or ``near`` copy.
        tricky: bool (N,): built to look like the other class.
    """

    texts: tuple[str, ...]
    labels: np.ndarray
    groups: np.ndarray
    kinds: tuple[str, ...]
    tricky: np.ndarray
    classes: tuple[str, ...] = ("ham", "spam")

    def __len__(self) -> int:
        return len(self.texts)


class _Writer:
    """Fills templates; every choice from one generator of whole numbers."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng

    def pick(self, options: Sequence[str]) -> str:
        return options[int(self.rng.integers(len(options)))]

    def happens(self, percent: int) -> bool:
        return int(self.rng.integers(PERCENT)) < percent

    def fill(self, template: str) -> str:
        pieces = template.split("{")
        out = [pieces[0]]
        for piece in pieces[1:]:
            slot, rest = piece.split("}", 1)
            out += [self.slot(slot), rest]
        return "".join(out)

    def slot(self, name: str) -> str:
        digits = "".join(str(int(d)) for d in self.rng.integers(0, 10, 6))
        if name == "phone":
            return f"{self.pick(FICTION_AREAS)} 496 0{digits[:3]}"
        if name == "short":
            return f"8{digits[:4]}"
        if name == "code":
            return digits
        if name == "link":
            words = _SLOTS["service"] + _SLOTS["event"] + _SLOTS["thing"]
            return f"www.{self.pick(words).split()[-1].lower()}{digits[:2]}.example"
        if name == "word":
            return self.pick(("YES", "GO", "WIN", "CASH", "PLAY", "STAR"))
        return self.pick(_SLOTS[name])

    def disguise(self, text: str, percent: int) -> str:
        """Some words with digits for letters or with the letters spaced out."""
        words = []
        for word in text.split(" "):
            if len(word) > 3 and word.isalpha() and self.happens(percent):
                if self.happens(60):
                    word = "".join(_DISGUISE.get(c, c) if self.happens(70) else c for c in word)
                else:
                    word = self.pick(("-", ".", "_")).join(word)
            words.append(word)
        return " ".join(words)

    def message(self, spam: bool, difficulty: int) -> tuple[str, bool]:
        """A message and whether it was built to look like the other class."""
        if self.happens(difficulty // 2):
            crossed = self.happens(_LIKE_THE_OTHER)
            asks = _SPAM_ASKS if spam != crossed else _HAM_ASKS
            template = self.pick(_COMMON).replace("{ask}", self.pick(asks))
            return self.dress(self.fill(template)), True
        tricky = self.happens(difficulty * 6 // 10)
        if spam:
            text = self.fill(self.pick(_SOFT_SPAM if tricky else _SPAM))
            text = self.disguise(text, difficulty * 4 // 10)
        else:
            text = self.fill(self.pick(_LOUD_HAM if tricky else _HAM))
        if self.happens(difficulty // 4):  # half a message of the other class
            other = self.fill(self.pick(_HAM if spam else _LOUD_HAM))
            cut = other.split(" ")
            text += ". " + " ".join(cut[: max(2, len(cut) // 2)])
        return self.dress(text), tricky

    def dress(self, text: str) -> str:
        """With an opener and a closer, and now and then in small letters."""
        text = self.pick(_OPENERS) + text[0].upper() + text[1:] + self.pick(_CLOSERS)
        return text.lower() if self.happens(10) else text

    def near_copy(self, text: str) -> str:
        """The text with a small change that a careless eye, and an exact hash, treat as new."""
        kind = int(self.rng.integers(5))
        if kind == 0:
            return text.lower() if text != text.lower() else text.upper()
        if kind == 1:
            return text + self.pick(("!", " !!", " ..", " x", " ok"))
        if kind == 2:
            return text.replace(" ", "  ", 1) + " "
        if kind == 3:
            return self.pick(("Fwd: ", "> ", "Re: ")) + text
        digits = [position for position, c in enumerate(text) if c.isdigit()]
        if not digits:
            return text + "."
        place = digits[int(self.rng.integers(len(digits)))]
        return text[:place] + str((int(text[place]) + 1) % 10) + text[place + 1 :]


def _share(value: float, name: str) -> int:
    if not 0 <= value <= 1:
        raise ValueError(f"{name} is a share from 0 to 1, not {value!r}")
    return round(PERCENT * value)


def messages(
    n: int,
    *,
    seed: int,
    difficulty: float = 0.4,
    spam_share: float = SPAM_SHARE / PERCENT,
    exact_copies: float = 0.06,
    near_copies: float = 0.04,
) -> GeneratedMessages:
    """``n`` messages in random order, copies included.

    Args:
        n: how many.
        seed: the same seed gives the same messages on every machine.
        difficulty: 0 (a word decides) to 1; see the module. Rounded to hundredths, as are shares.
        spam_share: of the originals; exact up to rounding.
        exact_copies, near_copies: of all messages so many repeat an original, letter by letter or
            with a small change. Spam is copied twice as often as ham, as bulk mail is.

    Originals are told apart: no two have the same text.

    Raises:
        ValueError: a share outside 0..1, copies that leave no original, or a negative ``n``.
    """
    hard, spam = _share(difficulty, "difficulty"), _share(spam_share, "spam_share")
    exact = n * _share(exact_copies, "exact_copies") // PERCENT
    near = n * _share(near_copies, "near_copies") // PERCENT
    originals = n - exact - near
    if n < 0 or (n and originals < 1):
        raise ValueError(f"{n} messages with {exact + near} copies leave no original")
    writer = _Writer(np.random.Generator(np.random.PCG64(seed)))

    labels = [1] * (originals * spam // PERCENT)
    labels += [0] * (originals - len(labels))
    rows: list[tuple[str, int, int, str, bool]] = []
    seen: set[str] = set()
    for group, label in enumerate(labels):
        text, tricky = writer.message(bool(label), hard)
        while _bare(text) in seen:
            text, tricky = writer.message(bool(label), hard)
        seen.add(_bare(text))
        rows.append((text, label, group, "original", tricky))

    wanted = [number for number in range(originals) for _ in range(1 + labels[number])]
    for number in range(exact + near):
        text, label, group, _, tricky = rows[wanted[int(writer.rng.integers(len(wanted)))]]
        kind = "exact" if number < exact else "near"
        copy = text if kind == "exact" else writer.near_copy(text)
        rows.append((copy, label, group, kind, tricky))

    rows = [rows[position] for position in writer.rng.permutation(n)]
    texts, marks, groups, kinds, tricky_marks = zip(*rows, strict=True) if rows else [()] * 5
    return GeneratedMessages(
        tuple(texts),
        np.array(marks, np.int64),
        np.array(groups, np.int64),
        tuple(kinds),
        np.array(tricky_marks, bool),
    )


def _bare(text: str) -> str:
    """Letters only: originals that differ in less would be near copies of one another."""
    return "".join(c for c in text.lower() if c.isalpha())
