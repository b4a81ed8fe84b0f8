"""Why a replica or a candidate does not serve."""
