"""What is said of codes and what comes of it, in plain Python: the model's part that follows uses and cancellations."""

from collections import Counter, defaultdict
from dataclasses import dataclass

NOBODY = "nobody in particular"
USED = {"redeemed", "not_assigned", "other_customer", "already_redeemed"}
"""Outcomes of uses that stand."""


@dataclass(eq=False)
class Said:
    """A use or a cancellation."""

    number: int
    effect: str
    customer: str | None
    late: bool
    """Whether it is said to have been in 2020, before everything else."""
    given_to: str | None
    """Who had the code then: a customer or NOBODY; None where it was given to none."""
    outcome: str = "unknown_code"
    named: bool = True
    """Whether its customer was not erased since."""


class Told:
    """All that was said, by code."""

    def __init__(self):
        self.of = defaultdict(list)

    def outcomes(self):
        """How often each thing came of each code."""
        return Counter((code, said.effect, said.outcome) for code, all_ in self.of.items() for said in all_)

    def unsettled(self, codes):
        """Those of these codes of which something is still said to be of an unknown code."""
        return {code for code in codes if any(said.outcome == "unknown_code" for said in self.of[code])}

    def was_used(self, code):
        """Tell whether a use of a code is known that was not cancelled, whatever came of it."""
        return any(said.effect == "redeem" and said.outcome != "cancelled" for said in self.of[code])

    def forget_pool(self, codes):
        """An undo takes the codes: all that was said is of codes that no pool holds."""
        for code in codes:
            for said in self.of[code]:
                said.outcome = "unknown_code"

    def import_(self, code):
        """Settle the uses of a code that a pool gets; tell whether it was used. Cancellations wait for what is new."""
        uses = [said for said in self._in_order(code) if said.effect == "redeem"]
        for said in uses:
            said.outcome = "already_redeemed"
        for said in uses[:1]:
            said.outcome = "not_assigned"
        return bool(uses)

    def _in_order(self, code):
        return sorted(self.of[code], key=lambda said: (not said.late, said.number))

    def judge(self, code, status, stands):
        """Work all of a code out anew; the state in which it is then.

        Args:
            code: a code that the pool has.
            status: its state until now.
            stands: whether somebody has it.
        """
        nobodys = status == "redeemed" and not stands
        standing = []
        for said in self._in_order(code):
            if said.outcome in {"void", "expired"} or (nobodys and said.outcome == "cancelled"):
                continue
            if said.effect == "redeem":
                standing.append(said)
                continue
            taken = [
                use
                for customer in (None, said.customer)  # of its customer, or else of nobody in particular
                for use in standing
                if use.customer == customer and (stands or use.outcome == "cancelled")
            ]
            said.outcome = "cancelled" if taken and not nobodys else "not_redeemed"
            if said.outcome == "cancelled":
                standing.remove(taken[-1])
                taken[-1].outcome = "cancelled"
        redeemed = False
        for place, said in enumerate(standing):
            alone = "not_assigned"
            if said.given_to is not None:
                one = said.customer is None or said.given_to in {NOBODY, said.customer}
                alone = "redeemed" if one else "other_customer"
            said.outcome = (
                alone if place == 0 or (alone == "redeemed" and not redeemed) else "already_redeemed"
            )
            redeemed = redeemed or said.outcome == "redeemed"
        if standing:
            return "redeemed"
        return "assigned" if status == "redeemed" and stands else status
