"""The demo's meetings: one past and recorded, one open. The cast itself is made by `cleac_site.demo`."""
