"""Why a cluster does not come up."""
