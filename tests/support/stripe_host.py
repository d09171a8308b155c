"""A small host of Stripe's webhooks, in FastAPI, that logs with the helper."""

from typing import Annotated, Any

import stripe
from fastapi import FastAPI, Header, HTTPException, Request

from sidecar.host.webhook_metric import metric, webhook
from support.stripe import SECRET


class Host:
    """The application, and of which events (by id) what goes wrong."""

    def __init__(self) -> None:
        self.crashes: set[str] = set()  # before anything is logged, behind a proxy that says 200
        self.hangs: set[str] = set()  # once it is received
        self.fails: set[str] = set()  # with an exception
        self.app = FastAPI()
        self.app.post("/v4/stripe-webhook")(self.take)

    async def take(
        self, request: Request, stripe_signature: Annotated[str, Header()]
    ) -> dict[str, bool]:
        body = await request.body()
        try:
            event = stripe.Webhook.construct_event(body, stripe_signature, SECRET)
        except stripe.SignatureVerificationError as wrong:
            metric("unknown", "invalid_signature", error=str(wrong)[:100])
            raise HTTPException(400) from wrong
        if event.id in self.crashes:
            return {"received": True}
        if event.id in self.hangs:
            metric(event.type, "received", event_id=event.id)
            return {"received": True}
        with webhook(event) as fields:
            fields["org_id"] = self._handle(event)
        return {"received": True}

    def _handle(self, event: Any) -> str:
        if event.id in self.fails:
            raise LookupError("no such organisation")
        return str(event.data.object.metadata["org_id"])
