"""The words all parts share: data, requests, stage interfaces, capabilities, errors."""
