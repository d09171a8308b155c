"""Real servers on loopback in Slack's and a mail server's place, which answer as they are told.

Both run in threads of their own, so that tests of one process and of several use them alike:

    with SlackSink() as slack, SmtpSink() as mail:
        slack.answers.append(Answer(429, {"Retry-After": "1"}))
        ...
        slack.wait_for(2)
"""

from support.arrivals import CERTIFICATE
from support.slack_sink import Answer, Ending, Request, SlackSink
from support.smtp_sink import Hangup, Mail, SmtpSink

__all__ = [
    "CERTIFICATE",
    "Answer",
    "Ending",
    "Hangup",
    "Mail",
    "Request",
    "SlackSink",
    "SmtpSink",
]
