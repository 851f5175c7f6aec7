"""Black-box load tester and the checker of the promises. Knows protocol/ and nothing else of this house."""
