"""One file per modality: raw items -> states and one vector each."""
