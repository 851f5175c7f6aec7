"""In-process twins of every port, product grade: the embedded server uses some of them."""
