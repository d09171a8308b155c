"""The grammar of a mailbox, for whoever names one."""

import re

# The HTML standard's e-mail grammar, and RFC 5322's display name before it.
_LETTERS = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
_HOST = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_ADDRESS = rf"{_LETTERS}(?:\.{_LETTERS})*@{_HOST}(?:\.{_HOST})*"
MAILBOX = re.compile(rf'{_ADDRESS}|(?:"[^"\\\r\n]*"|[^"<>,@\r\n]+)\s*<{_ADDRESS}>')
_MAX_ADDRESS = 254  # RFC 5321, 4.5.3.1.3: 256 with its angle brackets


def split_mailboxes(text: str) -> tuple[str, ...]:
    """Split at the commas that stand outside of quotes."""
    parts = re.findall(r'(?:"[^"]*"|[^,"]|")+', text)
    return tuple(part.strip() for part in parts if part.strip())


def parse_mailbox(text: str) -> str:
    """Return `text` without blanks around if it is exactly one mailbox. Raises ValueError."""
    mailbox_parts(text)
    return text.strip()


def mailbox_parts(text: str) -> tuple[str, str]:
    """Return display name and address of exactly one mailbox, `a@b.c` or `Name <a@b.c>`.

    What is read here can be sent: the configuration and the mail's own headers and envelope ask
    the same. Raises ValueError.
    """
    stripped = text.strip()
    if MAILBOX.fullmatch(stripped):
        name, _, address = stripped.removesuffix(">").rpartition("<")
        if len(address) > _MAX_ADDRESS:
            raise ValueError(f"a mail address has at most {_MAX_ADDRESS} characters")
        return name.strip().strip('"'), address
    if len(split_mailboxes(stripped)) > 1:
        raise ValueError(f"{text!r} holds several mailboxes; exactly one can stand here")
    raise ValueError(f"{text!r} is not a mail address; write for example alerts@example.com")
