"""`python -m bench.role host|member`: Ada gives Hana a role in the service that runs on CLEAC_DATA. No page does this yet.

Prints the moments at which the change began and at which it was done, as ms since 1970 in JSON.
"""

from __future__ import annotations

import json
import os
import sys
import time

from cleac_site.data_folder import join_running_service


def main(role: str) -> None:
    """Settings are read in the environment of the running service, so everything of Django comes after it."""
    join_running_service()
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "cleac_site.settings")
    import django  # noqa: PLC0415 - reason: the environment must be complete first

    django.setup()
    from django.utils import timezone  # noqa: PLC0415 - reason: settings must be configured first

    from tenants import scope, services  # noqa: PLC0415 - reason: models need loaded apps
    from tenants.models import Membership, Tenant  # noqa: PLC0415 - reason: as above
    from tenants.permissions import Actor  # noqa: PLC0415 - reason: as above

    acme = Tenant.objects.get(slug="acme")
    with scope.entered(acme):
        ada = Membership.objects.select_related("person").get(tenant=acme, role=Membership.Role.OWNER).person
        hana = Membership.objects.get(tenant=acme, person__name="Hana")
        actor = Actor.person(ada)
    began = time.time()
    with scope.entered(acme):
        services.change_role(membership=hana, role=role, by=actor, at=timezone.now())
    print(json.dumps({"began": began * 1000, "answered": time.time() * 1000}))


if __name__ == "__main__":
    main(sys.argv[1])
