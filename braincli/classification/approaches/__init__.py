"""One file per way of learning from several sites; :mod:`braincli.classification.registry` names them."""
