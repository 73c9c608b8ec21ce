# Commands of this repository:
#
#   make check     format, lints, form and language: seconds, needs no root
#   make test      every check and every test, as CI runs them
#   make demo      power-on to a signed container running
#
# Short names for edge-app, run in the project of apps (docs/apps.md):
#
#   make firmware-app-sandbox APP=animal-detector DEVICE=192.168.86.34
#   make firmware-app-push    APP=animal-detector VERSION=v1
#   make firmware-app-deploy  APP=animal-detector DEVICE=192.168.86.34 VERSION=v1
#
# PROJECT is the directory with edge-app.yaml; DEVICE may name several devices.
# They reach the shell as variables, never as text of its line.

EDGE_APP ?= edge-app
PROJECT ?=
OPTIONS ?=
export APP DEVICE VERSION PROJECT

run = set -f; exec $(EDGE_APP) $${PROJECT:+"--project=$$PROJECT"}
version = $${VERSION:+"--version=$$VERSION"} $(OPTIONS)
app = "$${APP:?give APP=NAME}"
device = "$${DEVICE:?give DEVICE=NAME}"
devices = $$DEVICE

help: ## Show the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1  \2/p' Makefile

check: ## Format, lints, form and language of the code
	@cargo xtask check

test: ## Every check and every test
	@scripts/test $(OPTIONS)

demo: ## Power-on to a signed container running
	@scripts/demo $(OPTIONS)

firmware-app-build: ## Build an app's image: APP VERSION
	@$(run) build $(version) -- $(app)

firmware-app-push: ## Push and sign it: APP VERSION
	@$(run) push $(version) -- $(app)

firmware-app-deploy: ## Run a pushed version on devices: APP DEVICE VERSION
	@$(run) deploy $(version) -- $(app) $(devices)

firmware-app-sandbox: ## Build and run the working copy, unsigned: APP DEVICE
	@$(run) sandbox $(OPTIONS) -- $(app) $(device)

firmware-app-logs: ## Show what an app printed: APP DEVICE
	@$(run) logs $(OPTIONS) -- $(app) $(device)

firmware-app-stop: ## Stop an app: APP DEVICE
	@$(run) stop $(OPTIONS) -- $(app) $(device)

firmware-app-remove: ## Remove an app's container; its data stay: APP DEVICE
	@$(run) remove $(OPTIONS) -- $(app) $(device)

firmware-app-list: ## List versions and where they run
	@$(run) list $(OPTIONS)

.PHONY: help check test demo firmware-app-build firmware-app-push firmware-app-deploy firmware-app-sandbox \
	firmware-app-logs firmware-app-stop firmware-app-remove firmware-app-list
