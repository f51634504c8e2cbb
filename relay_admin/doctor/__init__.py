"""What `manage.py doctor` looks at: one file a part of the deployment, its verdicts apart from what it asks."""
