"""Admin pages of applications and of what users allowed them."""

from django.contrib import admin
from oauth2_provider.models import get_id_token_model

from relay_admin.access.oauth.models import AccessToken, Grant, OAuthApplication, RefreshToken

# The toolkit registers pages of its own, also for what nobody should look at.
admin.site.unregister([OAuthApplication, AccessToken, Grant, RefreshToken, get_id_token_model()])
