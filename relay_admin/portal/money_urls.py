"""Addresses of the portal's money and traffic: a wallet's by its id, a project's below the project."""

from django.urls import path

from relay_admin.portal import calls, codes, failures, invoices, requests, top_ups, usage, wallets

of_project = [
    path("usage", usage.project_usage, name="usage"),
    path("wallet", wallets.project_wallet, name="wallet"),
    path("calls", calls.project_calls, name="calls"),
    path("calls/<uuid:call_id>", calls.project_call, name="calls-one"),
    path("requests", requests.project_requests, name="requests"),
    path("requests/<uuid:request_id>", requests.project_request, name="requests-one"),
    path("failures", failures.queue, name="failures"),
    path("failures/replay", failures.replay, name="failures-replay"),
    path("failures/replays/<int:batch_id>", failures.progress, name="failures-progress"),
    path("failures/replays/<int:batch_id>/<slug:word>", failures.turn, name="failures-turn"),
]

of_person = [
    path("wallet", wallets.own_wallet, name="own-wallet"),
    path("usage", usage.own_usage, name="own-usage"),
    path("calls", calls.own_calls, name="own-calls"),
    path("calls/<uuid:call_id>", calls.own_call, name="own-calls-one"),
    path("wallets/<int:wallet_id>", wallets.one_wallet, name="wallet-one"),
    path("wallets/<int:wallet_id>/entries.csv", wallets.entries_csv, name="wallet-entries"),
    path("wallets/<int:wallet_id>/codes", codes.redeem, name="wallet-code"),
    path("wallets/<int:wallet_id>/top-ups", top_ups.begin, name="wallet-top-ups"),
    path("wallets/<int:wallet_id>/top-ups/<uuid:source>", top_ups.top_up, name="wallet-top-up"),
    path("wallets/<int:wallet_id>/invoices/<int:invoice_id>", invoices.page, name="wallet-invoice"),
    path("wallets/<int:wallet_id>/invoices/<int:invoice_id>/csv", invoices.as_csv, name="wallet-invoice-csv"),
]
