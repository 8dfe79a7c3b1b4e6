"""Joins the rules to the ledger, and keeps the catalog; knows no HTTP."""
