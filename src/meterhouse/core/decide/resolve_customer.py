"""ResolveCustomer: who the buyer behind a registration token is (contract §8)."""

from hashlib import sha256

from meterhouse.core.call import Call, Plan, answered
from meterhouse.core.catalog import Catalog, Integration
from meterhouse.core.moment import SECOND
from meterhouse.core.outcome import Fault, FaultCode
from meterhouse.core.shapes import Metadata, ResolveCustomerRequest, ResolveCustomerResult


def plan_resolve_customer(call: Call[ResolveCustomerRequest], catalog: Catalog, now_micros: int) -> Plan:
    """Region, then token: unknown, malformed and another seller's tokens are told apart by nobody."""
    call.check_region()
    token = catalog.tokens.get(sha256(call.request.registration_token.encode()).hexdigest())
    agreement = None if token is None else catalog.agreements.get(token.agreement)
    product = None if agreement is None else catalog.products.get(agreement.product)
    if token is None or agreement is None or product is None or product.seller != call.signer.account:
        raise Fault(FaultCode.INVALID_TOKEN, "Registration token is invalid")
    if now_micros - token.issued_micros >= call.profile.token_seconds * SECOND:
        raise Fault(FaultCode.EXPIRED_TOKEN, "Registration token is expired")
    legacy = product.integration is Integration.LEGACY
    return answered(
        ResolveCustomerResult(
            customer_identifier=agreement.customer_identifier if legacy else None,
            product_code=product.code,
            customer_aws_account_id=agreement.buyer,
            license_arn=agreement.license_arn,
            metadata=Metadata(agreement_id=agreement.id),
        )
    )
