#!/usr/bin/env bash
# Dagster, KubeRay and this code location on a kind cluster. Needs docker, kind, helm and kubectl, and dist/ beside the
# Dockerfile. Run it in the folder of the Dockerfile.
set -euo pipefail
kind create cluster --name dagster-ray
docker build --tag ray-assets:1 .
kind load docker-image ray-assets:1 --name dagster-ray
helm upgrade --install kuberay-operator kuberay-operator --repo https://ray-project.github.io/kuberay-helm/ --version 1.7.0 --namespace kuberay-system --create-namespace --wait
kubectl create namespace dagster
kubectl apply -f deploy/rights.yaml -f deploy/network-policies.yaml
helm upgrade --install dagster dagster --repo https://dagster-io.github.io/helm --version 1.12.19 --namespace dagster --values deploy/dagster-values.yaml --set 'dagster-user-deployments.deployments[0].image.repository=ray-assets' --wait
kubectl --namespace dagster port-forward service/dagster-dagster-webserver 3000:80
