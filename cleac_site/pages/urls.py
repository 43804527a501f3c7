from django.urls import path

from . import api as endpoints
from . import network, overview, portal, views

pages = [
    path("", views.Front.as_view(), name="front"),
    path("home/", views.Home.as_view(), name="home"),
    path("my/", portal.MyHome.as_view(), name="my_home"),
    path("my/network/", network.Network.as_view(), name="my_network"),
    path("my/network/relays", network.NetworkRelays.as_view(), name="my_network_relays"),
    path("my/network/way", network.NetworkWay.as_view(), name="my_network_way"),
    path("healthz", views.healthz, name="healthz"),
    path("readyz", views.readyz, name="readyz"),
    path(".well-known/security.txt", views.security_txt, name="security_txt"),
]
dev = [path("dev/sign-in/<str:token>", views.demo_sign_in, name="demo_sign_in")]
staff = [
    path("", overview.TenantHome.as_view(), name="tenant_home"),
    path("my/", portal.MyHome.as_view(), name="own_home"),
    path("my/network/", network.Network.as_view(), name="own_network"),
    path("my/network/relays", network.NetworkRelays.as_view(), name="own_network_relays"),
    path("my/network/way", network.NetworkWay.as_view(), name="own_network_way"),
    path("people/", overview.People.as_view(), name="people"),
]
api = [
    path("schema", endpoints.Schema.as_view(), name="api_schema"),
    path("tenant", endpoints.TenantDetail.as_view(), name="api_tenant"),
]
