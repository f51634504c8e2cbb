"""`/portal/`: what a project's members see and do, by their role. Every page works without a script."""
